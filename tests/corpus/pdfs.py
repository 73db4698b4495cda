"""PDF files made by other programs than the reader's: reportlab and pikepdf, and raw bytes for hostile ones."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from pathlib import Path

from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas


def write_pages(
    path: Path,
    pages: Sequence[Sequence[str]],
    *,
    outline: Sequence[tuple[int, int, str]] = (),
    title: str = "",
    size: float = 11,
    head: str = "",
) -> None:
    """Pages of lines; one that begins with ``#`` is set in a larger font. ``outline``: page from 0, level from 0, title.

    ``head`` stands above every page, with its number.
    """
    canvas = Canvas(str(path), pagesize=A4)
    canvas.setTitle(title)
    for number, lines in enumerate(pages):
        for page, level, name in outline:
            if page == number:
                canvas.bookmarkPage(name)
                canvas.addOutlineEntry(name, name, level=level)
        top = 780
        if head:
            canvas.setFont("Helvetica", 9)
            canvas.drawString(60, 815, f"{head} {number + 1}")
        for line in lines:
            if line.startswith("#"):
                canvas.setFont("Helvetica-Bold", size * 1.6)
                canvas.drawString(60, top - 10, line.lstrip("# "))
                top -= 40
                continue
            fixed = line.startswith("$")
            canvas.setFont("Courier" if fixed else "Helvetica", size)
            canvas.drawString(60, top, line)
            top -= 14 if line else 8
        canvas.showPage()
    canvas.save()


def write_scan(path: Path, texts: Sequence[str]) -> None:
    """A page for each text; an empty one is a picture alone."""
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    canvas = Canvas(str(path), pagesize=A4)
    picture = ImageReader(Image.new("L", (40, 40), 128))
    for text in texts:
        if text:
            canvas.drawString(60, 700, text)
        else:
            canvas.drawImage(picture, 60, 500, 300, 300)
        canvas.showPage()
    canvas.save()


def locked(path: Path, *, user: str, owner: str = "owner") -> None:
    """Encrypt a PDF in its place."""
    import pikepdf

    with pikepdf.open(path, allow_overwriting_input=True) as document:
        document.save(path, encryption=pikepdf.Encryption(user=user, owner=owner))


def raw_pdf(content: bytes, resources: bytes = b"<< >>", kids: bytes = b"[3 0 R]") -> bytes:
    """A PDF of one page whose content stream is given, deflated already."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids " + kids + b" /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources " + resources + b" >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(content) + content + b"\nendstream",
    ]
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, 2)
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n" % number + body + b"\nendobj\n")
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


FONT = b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"


def bomb(megabytes: int, unit: bytes = b" ", start: bytes = b"") -> bytes:
    """A PDF whose one content stream unpacks to so many megabytes."""
    packer = zlib.compressobj(9)
    block = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    first = packer.compress(start + block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # it refers to nothing before it
    return raw_pdf(first + again * (megabytes - 1) + packer.flush(), FONT)
