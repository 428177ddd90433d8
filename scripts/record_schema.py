"""Write docs/reference/record.schema.json: the JSON Schema of a record, from the declarations.

python scripts/record_schema.py            # write the file
python scripts/record_schema.py --check    # exit code 1 where it is not what the declarations say
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from capacity.base.files import write_atomic
from capacity.declare.schema import schema

FILE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "record.schema.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    text = json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
    if parser.parse_args().check:
        return 0 if FILE.exists() and FILE.read_text(encoding="utf-8") == text else 1
    write_atomic(FILE, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
