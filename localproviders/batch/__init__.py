"""Ask a model about all rows of a file, with exactly one result for each row.

    from localproviders import OllamaProvider, batch

    with OllamaProvider(model="llama3.2") as ollama:
        report = batch.run("questions.jsonl", "answers.jsonl", ollama)
    print(report)
    for record in batch.read("answers.jsonl"):
        print(record.id, record.response.text)

A run may end at any moment. To continue it, make the same call again. The members are:
    run                       sends all rows that have no answer yet, and writes the results
    read                      yields the results of an output
    status                    returns the counts of an output, as a `BatchReport`
    merge                     joins the outputs of several shards
    check                     returns the rows of a source that cannot be sent
    BatchRecord               the result of one row
    BatchReport               the counts, tokens and times of a run
    Sink                      an object that receives results instead of a file
"""

from localproviders.batch.checking import check
from localproviders.batch.merging import merge
from localproviders.batch.reading import read, status
from localproviders.batch.recorder import Sink
from localproviders.batch.report import BatchReport
from localproviders.batch.results import BatchRecord
from localproviders.batch.runner import run

__all__ = ["BatchRecord", "BatchReport", "Sink", "check", "merge", "read", "run", "status"]
