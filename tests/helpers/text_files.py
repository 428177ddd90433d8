"""One set of documents as files of every type, and a data set in the form that the hub keeps."""

import csv
import gzip
import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq

NOUNS = "miller river orchard baker lantern valley wagon meadow sailor tailor".split()
VERBS = "finds leaves mends paints sells follows".split()


def sentences(i, n=6):
    """Document i: n sentences of one form."""
    draw = random.Random(i)
    return " ".join(
        f"The {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)}." for _ in range(n)
    )


DOCUMENTS = [sentences(i) for i in range(60)]


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def arrow(table, *, stream):
    sink = io.BytesIO()
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def cells(delimiter):
    out = io.StringIO(newline="")
    rows = [["id", "text"], *([i, text] for i, text in enumerate(DOCUMENTS))]
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode()


def every_type():
    """Content by name of a file; all hold DOCUMENTS."""
    txt, rows = "\n\n".join(DOCUMENTS).encode(), [{"text": text} for text in DOCUMENTS]
    table = pa.table({"text": DOCUMENTS})
    named = pa.table({"text": pa.array(DOCUMENTS).dictionary_encode()})
    return {
        "t.txt": txt,
        "t_bom.txt": b"\xef\xbb\xbf" + txt,
        "t_crlf.txt": txt.replace(b"\n", b"\r\n"),
        "t.txt.gz": gzip.compress(txt, mtime=0),
        "t.jsonl": jsonl(rows),
        "T_UPPER.JSONL": jsonl(rows),
        "t_crlf.jsonl": jsonl(rows).replace(b"\n", b"\r\n"),
        "t.jsonl.gz": gzip.compress(jsonl(rows), mtime=0),
        "t.jsonl.zst": zstd(jsonl(rows)),
        "t_blank_lines.json": b"\n" + jsonl(rows).replace(b"\n", b"\n\n"),
        "t.csv": cells(","),
        "t_bom.csv": b"\xef\xbb\xbf" + cells(","),
        "t.tsv": cells("\t"),
        "t.csv.gz": gzip.compress(cells(","), mtime=0),
        "t.parquet": parquet(table),
        "t_dict.parquet": parquet(named),
        "t_stream.arrow": arrow(table, stream=True),
        "t_file.arrow": arrow(table, stream=False),
    }


def hub_folder(folder):
    """A data set as people keep it: a card that names the files of two splits."""
    (folder / "data").mkdir(parents=True)
    for split, part in (("train", DOCUMENTS[:40]), ("test", DOCUMENTS[40:])):
        rows = [{"body": text, "source": f"book {i % 4}"} for i, text in enumerate(part)]
        (folder / "data" / f"{split}.jsonl").write_bytes(jsonl(rows))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: data/train.jsonl\n"
        "  - split: test\n    path: data/test.jsonl\n---\nInvented sentences.\n",
        "utf-8",
    )
    return folder
