"""What the code helper works on: tasks, the file each is about, and the line it changes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Repair:
    """A task in words, the file it leads to, the line that is wrong there, what replaces it, and why."""

    task: str
    path: str
    body: str  # `{secret}` is filled with text shaped like a key
    wrong: str
    right: str
    cause: str

    def diff(self, right: str | None = None) -> str:
        """The change as a unified diff; another `right` makes it a failed attempt."""
        line = 1 + self.body[: self.body.index(self.wrong)].count("\n")
        changed = "\n".join(f"+{text}" for text in (right or self.right).split("\n"))
        return f"--- a/{self.path}\n+++ b/{self.path}\n@@ -{line} +{line} @@\n-{self.wrong}\n{changed}\n"


REPAIRS = (
    Repair(
        "the export of invoices drops the last page of a long file",
        "src/billing/export.py",
        "def rows(pages: list[Page]) -> Iterator[Row]:\n    for page in pages[: len(pages) - 1]:\n"
        "        yield from page\n",
        "    for page in pages[: len(pages) - 1]:",
        "    for page in pages:",
        "the loop stopped one page early",
    ),
    Repair(
        "retry the upload with a growing pause when the store answers 503",
        "src/documents/upload.py",
        "async def upload(client: Client, body: bytes) -> str:\n    answer = await client.put('/objects', body)\n"
        "    if answer.status >= 500:\n        raise UploadFailed(answer.status)\n    return answer.headers['etag']\n",
        "    answer = await client.put('/objects', body)",
        "    answer = await retried(client.put, '/objects', body, pauses=(1, 2, 4, 8))",
        "one 503 was enough to give up",
    ),
    Repair(
        "the date filter counts midnight to the day before",
        "src/web/filters.py",
        "def on_day(when: datetime, day: date) -> bool:\n    start = datetime.combine(day, time())\n"
        "    return start < when <= start + timedelta(days=1)\n",
        "    return start < when <= start + timedelta(days=1)",
        "    return start <= when < start + timedelta(days=1)",
        "the comparison was open at the wrong end",
    ),
    Repair(
        "add the cost centre to the monthly report",
        "src/billing/report.py",
        "COLUMNS = ('month', 'supplier', 'amount')\n\n\ndef report(invoices: Iterable[Invoice]) -> Table:\n"
        "    return Table([pick(invoice, COLUMNS) for invoice in invoices], COLUMNS)\n",
        "COLUMNS = ('month', 'supplier', 'amount')",
        "COLUMNS = ('month', 'supplier', 'cost_centre', 'amount')",
        "the column was never asked for",
    ),
    Repair(
        "replace the hand-written CSV parser by the one of the standard library",
        "src/billing/imports.py",
        "def lines(text: str) -> Iterator[list[str]]:\n    for line in text.splitlines():\n"
        "        yield line.split(';')\n",
        "        yield line.split(';')",
        "        yield next(csv.reader([line], delimiter=';'))",
        "a quoted semicolon split the field",
    ),
    Repair(
        "read the key of the store from the environment",
        "src/documents/settings.py",
        'STORE_URL = "https://store.tidewater.example"\nSTORE_KEY = "{secret}"\nTIMEOUT_SECONDS = 10\n',
        'STORE_KEY = "{secret}"',
        'STORE_KEY = os.environ["TIDEWATER_STORE_KEY"]',
        "the key stood in the code; please revoke it as well",
    ),
)
