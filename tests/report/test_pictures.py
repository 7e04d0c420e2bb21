import numpy as np
import pytest

from septum.annotation.labels import IGNORE
from septum.images.intensity_range import IntensityRange
from septum.report.pictures import (
    INVENTED,
    LARGEST,
    MISSED,
    SMALLEST,
    WRONG_CLASS,
    View,
    central_plane,
    class_colour,
    draw_errors,
    draw_labels,
    draw_probability,
    grey_range,
)

GREY = np.full((4, 6, 3), 100, np.uint8)


def test_each_kind_of_error_has_its_colour_and_nothing_else_has() -> None:
    truth = np.array([[0, 0, 1, 1, 1, 2]] * 4, np.uint8)
    found = np.array([[0, 1, 1, 0, 2, 2]] * 4, np.uint8)
    drawn = draw_errors(GREY, found, truth)[0]
    assert [tuple(drawn[x].tolist()) for x in (1, 3, 4)] == [INVENTED, MISSED, WRONG_CLASS]
    assert all(len(set(drawn[x].tolist())) == 1 for x in (0, 2, 5))  # right: grey


def test_what_is_not_annotated_is_no_error() -> None:
    truth = np.full((4, 6), IGNORE, np.uint8)
    drawn = draw_errors(GREY, np.ones((4, 6), np.uint8), truth)
    assert (drawn == drawn[..., :1]).all()


def test_labels_leave_the_background_alone_and_tint_each_object_in_its_colour() -> None:
    labels = np.zeros((4, 6), np.int32)
    labels[:, 2:] = 3
    drawn = draw_labels(GREY, labels)
    np.testing.assert_array_equal(drawn[:, :2], GREY[:, :2])
    assert tuple(drawn[0, 2].tolist()) == class_colour(3)  # the outline, in full
    np.testing.assert_array_equal(drawn[0, 5], np.rint(60 + 0.4 * np.array(class_colour(3))))


def test_touching_objects_have_an_outline_between_them() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2]] * 4, np.int32)
    drawn = draw_labels(GREY, labels)[0]
    assert tuple(drawn[2].tolist()) == class_colour(1)
    assert tuple(drawn[3].tolist()) == class_colour(2)


def test_probability_of_two_classes_is_black_to_white() -> None:
    object_YX = np.array([[0.0, 0.5, 1.0]], np.float32)
    drawn = draw_probability(np.stack([1 - object_YX, object_YX]), View(1, 3))
    np.testing.assert_array_equal(drawn[0, :, 0], [0, 128, 255])


def test_a_sure_prediction_of_a_class_has_the_colour_of_its_label() -> None:
    probability_KYX = np.zeros((4, 1, 1), np.float32)
    probability_KYX[3] = 1
    assert tuple(draw_probability(probability_KYX, View(1, 1))[0, 0].tolist()) == class_colour(3)


@pytest.mark.parametrize("extents", [(1, 1), (7, 3), (64, 64), (300, 500), (3000, 10), (1, 5000)])
def test_any_extents_become_a_picture_of_readable_size_and_constants_stay(
    extents: tuple[int, int],
) -> None:
    view = View.of(extents)
    assert SMALLEST * 0.6 <= max(view.height, view.width) <= LARGEST
    np.testing.assert_array_equal(view.values(np.full(extents, 7.5)), np.float32(7.5))
    assert (view.labels(np.full(extents, 300)) == 300).all()


def test_photographs_keep_their_colours_and_16_bit_images_use_the_whole_range() -> None:
    photograph = np.random.default_rng(0).integers(0, 200, (3, 5, 4)).astype(np.uint8)
    shown = grey_range(photograph).picture(photograph, View(5, 4))
    np.testing.assert_array_equal(shown, np.moveaxis(photograph, 0, -1))
    deep = np.linspace(30_000, 31_000, 600).astype(np.uint16).reshape(1, 20, 30)
    shown = grey_range(deep).picture(deep, View(20, 30))
    assert shown.min() == 0
    assert shown.max() == 255


def test_a_constant_image_is_shown_and_two_channels_are_green_and_magenta() -> None:
    constant = np.full((1, 3, 3), 9, np.uint16)
    assert not grey_range(constant).picture(constant, View(3, 3)).any()
    two = np.zeros((2, 1, 2), np.float32)
    two[0, 0, 0] = two[1, 0, 1] = 1
    np.testing.assert_array_equal(
        grey_range(two).picture(two, View(1, 2))[0], [[0, 255, 0], [255, 0, 255]]
    )


def test_a_normalised_image_is_shown_in_the_tones_of_the_file() -> None:
    image = np.random.default_rng(1).integers(0, 4000, (2, 8, 8)).astype(np.uint16)
    intensity = IntensityRange((100.0, 900.0), (50.0, 700.0))
    tones = grey_range(image)
    normalised = tones.normalized(intensity).picture(intensity.apply(image), View(8, 8))
    difference = normalised.astype(int) - tones.picture(image, View(8, 8))
    assert np.abs(difference).max() <= 1


def test_of_a_volume_the_central_plane_is_shown() -> None:
    assert (central_plane(np.arange(5)[:, None, None] * np.ones((5, 2, 3), int)) == 2).all()
