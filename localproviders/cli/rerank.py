"""The verb ``rerank``: sorts texts by their relevance to a query."""

from __future__ import annotations

from argparse import Namespace

from localproviders.cli import options
from localproviders.cli.inputs import as_text, read_inputs, template_of
from localproviders.cli.parser import Parser
from localproviders.cli.run import Run
from localproviders.cli.usage import SUCCESS, UsageError
from localproviders.cli.values import whole
from localproviders.cli.verbs import Verb
from localproviders.types.rankings import RankedDocument

# Significant digits of a score, if the output is not JSON.
_DIGITS = 6
# A document with several lines is written on one line.
_LINE_ENDS = str.maketrans({"\n": "\\n", "\r": "\\r"})


def _add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "query", nargs="+", metavar="QUERY", help="what the texts are compared with"
    )
    parser.set_defaults(text=[])  # the texts are in files, or on standard input
    group = parser.add_argument_group("ranking")
    group.add_argument("--top-n", metavar="N", type=whole(1), help="only the N best texts")
    options.add_model(parser)
    options.add_input(parser)


def _run(arguments: Namespace, run: Run) -> int:
    template = template_of(arguments)
    query = " ".join(arguments.query)
    if not query.strip():
        raise UsageError("the query is empty", hint="localproviders help rerank")
    provider = run.provider()
    documents = [as_text(found, template) for found in read_inputs(arguments, default="lines")]
    ranking = provider.rerank(query, documents, top_n=arguments.top_n)
    if arguments.json:
        run.output.write_json(ranking.to_dict())
    else:
        for ranked in ranking:
            run.output.write_line(_line(ranked))
    run.warn_all(ranking.warnings)
    return SUCCESS


def _line(ranked: RankedDocument) -> str:
    document = ranked.document.translate(_LINE_ENDS)
    return f"{ranked.score:.{_DIGITS}g}\t{ranked.index}\t{document}"


VERBS = {
    "rerank": Verb(
        "Sort texts by their relevance to a query, the best first. Each line of a file or of "
        "standard input is a text. A line of the output has the score, the index of the text "
        "(0 is the first), and the text, separated by tabs. With --input text, each file is one "
        "text.",
        'localproviders rerank -m llamacpp/my-reranker -f notes.txt "Who must pay?"',
        _add_arguments,
        _run,
    )
}
