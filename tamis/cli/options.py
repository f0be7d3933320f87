"""Parameters that several commands take, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

IndexArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.", show_default=False)]
CorpusArgument = Annotated[
    str,
    typer.Argument(
        metavar="CORPUS",
        help="BEIR folder; JSONL, MS MARCO TSV or TREC SGML file or folder, plain or .gz; or ir_datasets id.",
        show_default=False,
    ),
]
QrelsArgument = Annotated[
    str,
    typer.Argument(
        metavar="QRELS", help="TREC or BEIR judgements, FOLDER#SPLIT, or ir_datasets id.", show_default=False
    ),
]
RunsArgument = Annotated[list[Path], typer.Argument(metavar="RUN", help="TREC or MS MARCO runs.", show_default=False)]

ThreadsOption = Annotated[
    int | None, typer.Option("--threads", metavar="N", help="Threads to use; all processors if not given.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
FilterOption = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="EXPR",
        help="""Only documents whose metadata match, e.g. 'year >= 1970 and lang == "en"'.""",
    ),
]
IdFieldOption = Annotated[
    str | None, typer.Option("--id-field", metavar="KEY", help="JSON key of the id, if not _id, id or docid.")
]
OnBadLineOption = Annotated[
    str, typer.Option("--on-bad-line", metavar="error|skip", help="Stop at a malformed line, or count it and go on.")
]
MeasuresOption = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        "-m",
        metavar="MEASURE",
        help="Measure by its ir_measures name, repeatable; nDCG@10, R@100, AP and RR@10 if none is given.",
    ),
]
TiesOption = Annotated[
    str,
    typer.Option(
        "--ties",
        metavar="RULE",
        help="Order of equal scores: trec_eval (ids descending), docid (ids ascending) or stable (as in the run).",
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Score as this collection is scored, e.g. trec-dl-2019 or beir/arguana; auto takes it from the name of QRELS.",
    ),
]
IgnoreSelfOption = Annotated[bool, typer.Option("--ignore-self", help="Drop results whose id is the query's own.")]
JudgedOnlyOption = Annotated[
    bool, typer.Option("--judged-only", help="Leave unjudged documents out, where a measure can.")
]
JudgedOption = Annotated[bool, typer.Option("--judged", help="Share of judged documents beside every measure.")]
FormatOption = Annotated[
    str, typer.Option("--format", metavar="table|json|csv|markdown|latex", help="Form of the output.")
]

DEFAULT_MEASURES = ("nDCG@10", "R@100", "AP", "RR@10")
