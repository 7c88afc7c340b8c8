"""From the bytes of an image file to uint8 pixels (channels, height, width). One rule each:

* Orientation: the EXIF tag is applied, so pixels are as a viewer shows them; no other tag is read, and tags
  that cannot be read leave the image as it is.
* Grey or colour: modes 1, L, LA and 16-bit grey are greyscale; palette, RGB(A), CMYK and the rest are colour.
* Transparency is composited on mid-grey (128), the centre of the data range: a black drawing and a white one
  both stay visible, as they would not on white or on black.
* 16-bit greyscale is scaled, u = round(v / 257), not clipped. (16-bit colour: Pillow keeps the high byte.)
  12 bits, in a TIFF or PGM that says so, are scaled by their own white; levels that fill no more than 12 of 16 bits
  and do not say so are refused, as are 32-bit and floating-point images: their range is not known.
* Animations and several pages: the first frame.
* Size: a centre crop to a square, then LANCZOS with antialiasing to size × size.
* idx images (MNIST and its kin) are surrounded by their background instead while size <= 36: 28 → 32 adds 2
  pixels of 0 on each side and leaves the strokes as they are.
* A file is decoded to its last pixel, so a truncated one is noticed; more than `Image.MAX_IMAGE_PIXELS`
  pixels (89 million; Pillow warns there and stops at twice that) are refused before anything is decoded.
"""

import io
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from anila.data.foreign import reading

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
"""Formats that Pillow may open: file names lie, and some other formats of Pillow run external programs."""

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif"),
    *(".bmp", ".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)

GREY_MODES = ("1", "L", "LA", "La")
MATTE = 128
PADDED_UP_TO = 36
TWELVE_BITS = 4095

BAD_IMAGE = ValueError
"""The error that `open_image` raises on bytes that are not an image."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transpose that makes the image upright."""


def open_image(raw: bytes) -> Image.Image:
    """Decode fully, upright, in mode L or RGB.

    Args:
        raw: The bytes of an image file.

    Raises:
        ValueError: If it cannot be decoded, is too large or has no known range.
    """
    if not raw:
        raise ValueError("zero bytes")
    with reading(), Image.open(io.BytesIO(raw), formats=FORMATS) as image:
        require_reasonable(image)
        image.load()
        return eight_bits(upright(image), white_of(image))


def upright(image: Image.Image) -> Image.Image:
    """The image, turned according to its EXIF orientation."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever Pillow raises about broken tags, the pixels are whole
        return image
    return image if turn is None else image.transpose(turn)


def require_reasonable(image: Image.Image) -> None:
    """Refuse a decompression bomb from its header."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ValueError(f"{image.width} × {image.height} pixels, more than {limit / 1e6:.0f} million")


def white_of(image: Image.Image) -> int | None:
    """The level of white, if a 16-bit file states it; Pillow scales PGM to 65535."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return TWELVE_BITS if image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE) == (12,) else None
    return 65535 if image.format == "PPM" else None


def eight_bits(image: Image.Image, white: int | None) -> Image.Image:
    """The image in mode L or RGB, by the rules of the module for depth and transparency."""
    if image.mode == "F" or (image.mode == "I" and white is None):
        raise ValueError("floating-point and 32-bit pixels have no known range; save them with 8 or 16 bits")
    if image.mode.startswith("I"):
        return Image.fromarray(scaled(np.asarray(image), white))
    mode = "L" if image.mode in GREY_MODES else "RGB"
    if not image.has_transparency_data:
        return image.copy() if image.mode == mode else image.convert(mode)
    layered = image.convert("RGBA")
    matte = Image.new(mode, image.size, MATTE if mode == "L" else (MATTE,) * 3)
    matte.paste(layered.convert(mode), mask=layered.getchannel("A"))
    return matte


def scaled(values: np.ndarray, white: int | None) -> UInt8[np.ndarray, "height width"]:
    """round(255 v / white), which maps 0..white to 0..255; white is 65535 unless the file states another."""
    highest = int(values.max())
    if white is None and 0 < highest <= TWELVE_BITS:
        raise ValueError(f"16-bit levels only up to {highest} of 65535: are they 12-bit? scale them to 0..65535")
    if values.min() < 0 or highest > (white or 65535):
        raise ValueError(f"integers {values.min()}..{highest} are not grey levels of 0..{white or 65535}")
    return ((255 * values.astype(np.int64) + (white or 65535) // 2) // (white or 65535)).astype(np.uint8)


def fit(image: Image.Image, size: int | None, background: int | None) -> Image.Image:
    """Give an image the wanted size.

    Args:
        image: Mode L or RGB.
        size: Side of the square; None leaves the image as it is.
        background: Level to pad with if the module's rule pads; None always resizes.
    """
    if size is None or image.size == (size, size):
        return image
    if background is not None and max(image.size) < size <= PADDED_UP_TO:
        return padded(image, size, background)
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def padded(image: Image.Image, size: int, background: int) -> Image.Image:
    canvas = Image.new(image.mode, (size, size), background)
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return canvas


def pixels(image: Image.Image, channels: Literal[1, 3] | None) -> UInt8[np.ndarray, "channels height width"]:
    """Pixels as an array, in the wanted number of channels; None keeps what the image has."""
    mode = {1: "L", 3: "RGB", None: image.mode}[channels]
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
