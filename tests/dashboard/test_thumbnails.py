"""Pictures inside messages: small ones of our own making, whatever the sender's bytes are."""

from __future__ import annotations

import base64
import io
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image
from playwright.sync_api import Page, expect

from spanfold.dashboard import thumbnails, transcripts
from spanfold.dashboard.thumbnails import MOST_CHARS, MOST_PIXELS, Easel
from tests.dashboard import story
from tests.dashboard.driving import PATIENCE, browsing, chromium, serving, visit
from tests.flow.sending import SECOND, chat, product, traces

RED, PIXEL = (200, 30, 40), b"http://127.0.0.1:9/pixel.png"


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (800, 600), **how: Any) -> str:
    out = io.BytesIO()
    Image.new("RGB", size, RED).convert(mode).save(out, kind, **how)
    return base64.b64encode(out.getvalue()).decode()


def bomb(width: int, height: int) -> str:
    """A small PNG that says it is huge, one bit a pixel, all of them there."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = zlib.compressobj(9)
    line = bytes(1 + (width + 7) // 8)
    packed = b"".join(row.compress(line) for _ in range(height)) + row.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    raw = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return base64.b64encode(raw).decode()


def drawn(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "LA"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("GIF", "P"),
     ("WEBP", "RGB")],
)  # fmt: skip
def test_the_four_formats_become_small_pictures(kind: str, mode: str) -> None:
    """800 x 600 of any mode is 320 x 240, and one line says what it was."""
    content = encoded(kind, mode)
    made = Easel().draw(content)
    with drawn(made.url) as picture:
        assert (picture.format, picture.size) == ("WEBP", (320, 240))
        if mode not in ("LA", "CMYK"):
            middle = picture.convert("RGB").getpixel((160, 120))
            assert isinstance(middle, tuple)
            assert all(abs(a - b) < 12 for a, b in zip(middle, RED, strict=True))
    assert made.note.startswith(f"{kind}, 800 × 600, ")
    assert made.note.endswith("bytes")


def test_nothing_of_the_file_but_its_pixels_is_passed_on() -> None:
    """Places, comments and profiles of the original are not in the thumbnail; a turned photo stands upright."""
    tags = Image.Exif()
    tags[0x0112] = 6  # orientation: turned by 90 degrees
    tags[0x010E] = "taken at home"
    made = Easel().draw(encoded("JPEG", exif=tags.tobytes(), comment=b"taken at home"))
    with drawn(made.url) as picture:
        assert picture.size == (240, 320)
        assert not picture.getexif()
    assert b"taken at home" not in base64.b64decode(made.url.partition(",")[2])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bomb(8_000, 4_001), "PNG, 8,000 × 4,001, 4.0k bytes, not drawn: more than 32 million pixels"),
        (bomb(40_000, 4_500), "not drawn: it cannot be decoded (Image size (180000000 pixels) exceeds limit of"),
        (encoded("PNG")[:400], "not drawn: it cannot be decoded (image file is truncated)"),
        (encoded("BMP"), "not drawn: neither PNG, JPEG, GIF nor WebP"),
        (encoded("TIFF"), "not drawn: neither PNG, JPEG, GIF nor WebP"),
        (base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'><image href='" + PIXEL + b"'/></svg>").decode(),
         "not drawn: neither PNG, JPEG, GIF nor WebP"),
        (base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").decode(), "neither PNG"),
        ("", "0 bytes, not drawn: neither PNG, JPEG, GIF nor WebP"),
        ("QUJD=QQ", "not drawn: "),
        ("é" * 9, "not drawn: it cannot be decoded (string argument should contain only ASCII characters)"),
    ],
    ids=["bomb", "huge bomb", "cut", "bmp", "tiff", "svg", "postscript", "empty", "no base64", "no ascii"],
)  # fmt: skip
def test_what_is_not_drawn_says_why(content: str, why: str) -> None:
    """A decompression bomb, a damaged file, another format: a sentence, no picture, no exception."""
    made = Easel().draw(content)
    assert made.url == ""
    assert why in made.note


def test_more_than_64_mib_of_base64_are_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Size is judged before a byte is read."""
    monkeypatch.setattr(thumbnails.base64, "b64decode", lambda _: pytest.fail("it was decoded"))
    assert Easel().draw("A" * (MOST_CHARS + 1)).note == "50.3M bytes, not drawn: more than 48 MiB"


def test_one_view_decodes_so_many_pixels_and_no_more() -> None:
    """Many small files that unpack to large pictures: the first are drawn, the others say that the view is full."""
    easel = Easel(pixels=1_000_000)
    many = [easel.draw(encoded("PNG", size=(800, 500 + at))) for at in range(4)]
    assert [bool(made.url) for made in many] == [True, True, False, False]
    assert many[3].note.endswith("not drawn: the pictures above are as many pixels as one view decodes")
    assert easel.pixels == 1_000_000 - 800 * 500 - 800 * 501
    assert Easel().pixels == 2 * MOST_PIXELS


@given(some.binary(max_size=300), some.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]), some.integers(0, 200))
def test_no_bytes_make_it_fail(noise: bytes, kind: str, at: int) -> None:
    """Any bytes, and a picture with any bytes written over it, give a thumbnail or a sentence."""
    whole = base64.b64decode(encoded(kind, size=(40, 30)))
    for raw in (noise, whole[:at] + noise + whole[at + len(noise) :]):
        made = Easel().draw(base64.b64encode(raw).decode())
        assert made.url or "not drawn" in made.note


def test_only_pictures_that_came_inside_a_message_are_drawn() -> None:
    """A URL stays text, sound stays a size, a picture by its modality or its type is drawn."""
    png = encoded("PNG", size=(40, 30))
    bodies: list[dict[str, Any]] = [
        {"type": "blob", "modality": "image", "content": png},
        {"type": "blob", "mime_type": "image/png", "content": png},
        {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": png},
        {"type": "uri", "modality": "image", "uri": PIXEL.decode()},
    ]
    items = [transcripts.part(body, "p", (), Easel()) for body in bodies]
    assert [bool(item.get("picture")) for item in items] == [True, True, False, False]
    assert items[2]["note"].endswith("bytes, not shown")
    assert items[3]["text"] == PIXEL.decode()


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[str]:
    """A dashboard over one call that was shown a picture, a bomb, and a picture by its URL."""
    parts = [
        {"type": "text", "content": "What is this?"},
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": encoded("PNG")},
        {"type": "blob", "modality": "image", "mime_type": "image/png", "content": bomb(8_000, 4_001)},
        {"type": "uri", "modality": "image", "uri": PIXEL.decode()},
    ]
    with product(tmp_path / "data") as p:
        call = chat(1, 1, start=time.time_ns() - 60 * SECOND, history=[{"role": "user", "parts": parts}])
        p.send(traces([call]))
        p.fold()
    with serving(tmp_path / "data", tmp_path / "dashboard.log") as url:
        yield url


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.skipif(chromium() is None, reason="NOT TESTED IN A BROWSER: install chromium")
def test_a_browser_draws_the_thumbnail_and_fetches_nothing(pictures: str) -> None:
    """The Messages tab shows the picture 320 pixels wide, says why the bomb is not drawn, and asks no stranger."""
    with browsing() as context:
        page: Page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        visit(page, f"{pictures}/trace?trace={story.hex_trace(1)}&span={story.hex_span(1)}")
        image = page.locator("img.picture")
        expect(image).to_have_count(1, timeout=PATIENCE)
        drawn_size = "async (image) => { await image.decode(); return [image.naturalWidth, image.naturalHeight]; }"
        assert image.evaluate(drawn_size) == [320, 240]
        expect(page.get_by_text("PNG, 800 × 600", exact=False)).to_be_visible()
        expect(page.get_by_text("not drawn: more than 32 million pixels", exact=False)).to_be_visible()
        expect(page.get_by_text(PIXEL.decode())).to_be_visible()
        assert [url for url in asked if not url.startswith((pictures, "data:", "blob:"))] == []
