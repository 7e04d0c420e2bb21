"""How good a prediction is: the measures of the challenges, against images annotated by hand."""
