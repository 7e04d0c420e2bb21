"""What a person looks at when a run has ended: one page with the data, the curves, the errors."""
