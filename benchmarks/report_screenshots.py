"""Pictures of a comparison's page as people see it: desktop, phone, dark, a document, print.

    python benchmarks/report_screenshots.py REPORT.html --output runs/screenshots
    python benchmarks/report_screenshots.py REPORT.html --excerpt docs/report.png

Needs a Chromium (``apt-get install chromium``, or its path in CHROMIUM). Look at them after any
change of the template, the styles or the script.

``--excerpt`` takes one small picture of the page's differences, which is the same for the same
page, browser and fonts. The one in docs/ is of the runs of ``make demo``, ``--by stratum``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from lmms_causal.report.browser import Browser, chromium

WINDOWS = {
    "desktop": (1280, 900, False),
    "desktop_dark": (1280, 900, True),
    "tablet": (820, 1180, False),
    "phone": (390, 844, False),
    "phone_dark": (390, 844, True),
}
EXCERPT = (1180, 860)
COLOURS = 192  # fewer lose those of single signs
TO_DIFFERENCES = "document.getElementById('differences').scrollIntoView({behavior: 'instant'})"
READY = "!document.getElementById('filters') || !document.getElementById('filters').hidden"
SETTLED = "new Promise(done => setTimeout(done, 300))"  # pictures are decoded
OPEN = "document.querySelector('#rows button')?.click()"
LAY = "[...document.querySelectorAll('.switch button')].at(-1)?.click()"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/screenshots"))
    parser.add_argument("--excerpt", type=Path, help="only a small picture of the differences")
    given = parser.parse_args()
    program = chromium()
    if program is None:
        print("error: no Chromium here: apt-get install chromium", file=sys.stderr)
        return 2
    if given.excerpt is not None:
        with Browser(program) as browser:
            browser.open(given.report, *EXCERPT)
            browser.until(READY)
            browser.evaluate(TO_DIFFERENCES)
            browser.evaluate(SETTLED)
            browser.screenshot(given.excerpt)
        with Image.open(given.excerpt) as picture:
            small = picture.convert("RGB").quantize(COLOURS)
        small.save(given.excerpt, optimize=True)
        return 0
    given.output.mkdir(parents=True, exist_ok=True)
    with Browser(program) as browser:
        for name, (width, height, dark) in WINDOWS.items():
            browser.open(given.report, width, height, dark=dark)
            browser.until(READY)
            browser.evaluate(SETTLED)
            browser.screenshot(given.output / f"{name}.png", whole=True)
            browser.evaluate(OPEN)
            browser.evaluate(LAY)
            browser.evaluate(SETTLED)
            browser.screenshot(given.output / f"{name}_document.png")
            wide = browser.evaluate("document.documentElement.scrollWidth")
            print(f"{name}: window of {width}, content of {wide} pixels")
        browser.pdf(given.output / "print.pdf")
        for error in browser.errors:
            print(f"console: {error}", file=sys.stderr)
    return 1 if browser.errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
