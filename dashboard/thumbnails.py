"""Small pictures of what models were shown. The sender's bytes are decoded here, within bounds, and drawn anew: the
browser gets a small WebP of our own making, never the bytes, and nothing is ever fetched."""

from __future__ import annotations

import base64
import io
import threading
from dataclasses import dataclass

import streamlit as st
import xxhash
from PIL import Image, ImageOps, UnidentifiedImageError

from spanfold.dashboard import formatting

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")  # no other reader of Pillow ever sees a sender's bytes
MOST_CHARS = 64 << 20  # of base64
MOST_PIXELS = 32_000_000  # of one picture: 128 MB while it is decoded
SIDE = 320  # longer side of a thumbnail, pixels
_ONE = threading.Lock()  # sessions decode one after the other, so that the bound holds for the process


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A data URL, empty where there is none, and one line about the picture: what it is, or why it is not drawn."""

    url: str
    note: str


@dataclass(slots=True)
class Easel:
    """Draws the thumbnails of one view, first come first drawn, until `pixels` have been decoded: a view full of small
    files that unpack to huge pictures costs no more than this."""

    pixels: int = 2 * MOST_PIXELS

    def draw(self, content: str) -> Thumbnail:
        """The thumbnail of base64 text. Never raises: a picture that cannot be drawn is a sentence."""
        size = f"{formatting.short(len(content) * 3 // 4)} bytes"
        try:
            if len(content) > MOST_CHARS:
                return Thumbnail("", f"{size}, not drawn: more than {MOST_CHARS * 3 // 4 >> 20} MiB")
            return self._drawn(base64.b64decode(content), size)
        except UnidentifiedImageError:
            return Thumbnail("", f"{size}, not drawn: neither PNG, JPEG, GIF nor WebP")
        except Exception as problem:  # damaged or hostile bytes fail in any way a decoder can
            why = " ".join(str(problem).split())[:100] or type(problem).__name__
            return Thumbnail("", f"{size}, not drawn: it cannot be decoded ({why})")

    def _drawn(self, raw: bytes, size: str) -> Thumbnail:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as picture:
            what = f"{picture.format}, {picture.width:,} × {picture.height:,}, {size}"
            pixels = picture.width * picture.height
        if pixels > MOST_PIXELS:
            return Thumbnail("", f"{what}, not drawn: more than {MOST_PIXELS // 1_000_000} million pixels")
        if pixels > self.pixels:
            return Thumbnail("", f"{what}, not drawn: the pictures above are as many pixels as one view decodes")
        self.pixels -= pixels
        with _ONE:
            return Thumbnail(_data_url(xxhash.xxh3_128_hexdigest(raw), raw), what)


@st.cache_data(max_entries=200, ttl=600, show_spinner=False)
def _data_url(digest: str, _raw: bytes) -> str:
    """The first frame, upright, with its longer side at most SIDE, as WebP without metadata. Remembered for the runs
    that every key and click causes."""
    with Image.open(io.BytesIO(_raw), formats=FORMATS) as picture:
        picture.draft("RGB", (SIDE, SIDE))  # a JPEG is decoded at a fraction of its size
        small: Image.Image = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    small.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    ImageOps.exif_transpose(small).save(out, "WEBP", quality=80, exif=b"", icc_profile=b"", xmp=b"")
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
