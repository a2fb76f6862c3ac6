"""Downloads: start, status and progress until the end."""

from __future__ import annotations

import threading
from typing import Any, List

import pytest

from localproviders import (
    CancelledError,
    CancelToken,
    ConfigurationError,
    LimitError,
    Limits,
    LMStudioProvider,
    ModelNotFoundError,
    Progress,
    ProtocolError,
    RequestRejectedError,
    ServerError,
    StreamInterruptedError,
    UnsupportedError,
)
from localproviders.lmstudio import downloads
from localproviders.testing import Exchange, ScriptedServer, http_answer
from localproviders.types import DownloadJob
from tests.unit.lmstudio.support import studio

NAME = "qwen/qwen3-8b"
ADDRESS = "https://huggingface.co/somebody/Some-Model-7B-GGUF"
NO_IDS = (
    ".", "..", "../..", "a/../b", "./a", "a/.", "%2e", "%2E%2e", ".%2e", "%252e%252E", "..%2f..",
    "..%5ca", "..\\a", "a\n", "a\r\nHost: x", "\x1b[2J", "\0", "\u2028",
)  # fmt: skip
START = "POST /api/v1/models/download"


@pytest.fixture(autouse=True)
def soon(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait between polls on the real clock; on the fake one it takes no time."""
    if "fake_clock" not in request.fixturenames:
        monkeypatch.setattr(downloads, "WAITS_S", (0.001, 0.002))


def test_a_download_begins_and_tells_how_far_it_is() -> None:
    with studio() as pair:
        job = pair.provider.download(NAME)
        first = pair.provider.download_status(job.job_id or "")
        second = pair.provider.download_status(job.job_id or "")

        assert pair.last_body("/api/v1/models/download") == {"model": NAME}
    assert (job.status, job.total_bytes, job.completed_bytes) == ("downloading", 2279145003, None)
    assert job.started_at is not None
    assert job.started_at.utcoffset() is not None
    assert (first.status, first.completed_bytes, first.bytes_per_second) == (
        "downloading",
        1139572501,
        3870000.5,
    )
    assert first.expected_at is not None
    assert not first.is_done
    assert (second.is_done, second.completed_at is not None) == (True, True)
    assert second.progress.fraction == 1


def test_what_is_there_is_not_downloaded() -> None:
    with studio([NAME]) as pair:
        job = pair.provider.download(NAME)

    assert (job.status, job.job_id, job.is_done) == ("already_downloaded", None, True)


def test_only_the_job_is_quoted_in_a_path() -> None:
    with ScriptedServer(http_answer({"models": [], "status": "paused"})) as server:
        with LMStudioProvider(server.url) as provider:
            job = provider.download_status("job/1 ?x")

    assert server.exchanges[-1].path == "/api/v1/models/download/status/job%2F1%20%3Fx"
    assert (job.status, job.job_id) == ("paused", "job/1 ?x")


@pytest.mark.parametrize("job_id", ["", None])
def test_without_a_job_nothing_is_asked(job_id: Any) -> None:
    with studio() as pair:
        with pytest.raises(ConfigurationError, match="job_id"):
            pair.provider.download_status(job_id)

        assert pair.take_requests() == []


@pytest.mark.parametrize("job_id", [*NO_IDS, "\ud800"])
def test_a_job_that_would_lead_to_another_path_is_not_asked_for(job_id: str) -> None:
    with studio() as pair:
        with pytest.raises(ConfigurationError, match="cannot be a segment of a URL path"):
            pair.provider.download_status(job_id)

        assert pair.take_requests() == []


@pytest.mark.sample(8)
@pytest.mark.parametrize("job_id", NO_IDS)
def test_a_job_that_the_server_calls_like_another_path_is_not_followed(job_id: str) -> None:
    def script(exchange: Exchange) -> List[bytes]:
        job = {"status": "downloading", "job_id": job_id}
        return [http_answer({"models": []}) if exchange.method == "GET" else http_answer(job)]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        for ask in (provider.pull, provider.download):
            with pytest.raises(ProtocolError, match="cannot be a segment of a URL path"):
                ask(NAME)
    assert {e.path for e in server.exchanges} == {"/api/v1/models", "/api/v1/models/download"}


def test_an_unknown_job_is_a_clear_error() -> None:
    with studio() as pair:
        with pytest.raises(RequestRejectedError, match="job_9") as caught:
            pair.provider.download_status("job_9")

    assert caught.value.hint == "start the download again"


def test_a_quantization_goes_with_an_address() -> None:
    with studio() as pair:
        with pytest.raises(UnsupportedError, match="quantization") as caught:
            pair.provider.pull(NAME, quantization="Q4_K_M")
        assert pair.take_requests() == []

        pair.provider.pull(ADDRESS, quantization="Q4_K_M")
        assert pair.last_body("/api/v1/models/download") == {
            "model": ADDRESS,
            "quantization": "Q4_K_M",
        }
    assert "Hugging Face" in str(caught.value.hint)


def test_pull_follows_a_download_to_its_end() -> None:
    told: List[Progress] = []
    with studio() as pair:
        info = pair.provider.pull(NAME, on_progress=told.append)

    assert info.name == NAME
    assert [(report.status, report.completed_bytes) for report in told] == [
        ("downloading", None),
        ("downloading", 1139572501),
        ("completed", 2279145003),
    ]


def test_pull_gives_what_is_there_already() -> None:
    told: List[Progress] = []
    with studio([NAME]) as pair:
        assert pair.provider.pull(NAME, on_progress=told.append).name == NAME

    assert [report.status for report in told] == ["already_downloaded"]


def test_pull_finds_what_came_from_an_address() -> None:
    with studio() as pair:
        assert pair.provider.pull(ADDRESS).name == "some-model-7b"
        assert pair.provider.pull(ADDRESS).name == "some-model-7b"  # already there


def test_what_cannot_be_told_apart_is_an_error_that_says_so() -> None:
    listing = http_answer({"models": [{"key": "a"}, {"key": "b"}]})
    there = http_answer({"status": "already_downloaded"})

    def script(exchange: Exchange) -> List[bytes]:
        return [listing if exchange.method == "GET" else there]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(ModelNotFoundError, match="has been downloaded") as caught:
            provider.pull(ADDRESS)

    assert caught.value.available == ("a", "b")


def test_an_unknown_model_is_not_found() -> None:
    with studio() as pair:
        with pytest.raises(ModelNotFoundError):
            pair.provider.pull("nobody/nothing")


@pytest.mark.parametrize(
    ("reason", "said"), [("no space left", "no space left"), ("", "did not report a reason")]
)
def test_a_failed_download_says_why(reason: str, said: str) -> None:
    with studio() as pair:
        pair.server.download_script = [("downloading", 0.1), ("failed", 0.1)]
        pair.server.download_error = reason
        with pytest.raises(ServerError, match=said):
            pair.provider.pull(NAME)


def test_asking_for_a_failed_download_is_no_error() -> None:
    with studio() as pair:
        pair.server.download_script = [("failed", 0.1)]
        pair.server.download_error = "no space left"
        job = pair.provider.download_status(pair.provider.download(NAME).job_id or "")

    assert (job.has_failed, job.reason) == (True, "no space left")


#: Use the fake clock, for exact times on any machine.
exactly = pytest.mark.usefixtures("fake_clock")


@exactly
@pytest.mark.parametrize("status", ["downloading", "paused"])
def test_a_download_that_stands_still_meets_the_limit_of_silence(status: str) -> None:
    told: List[Progress] = []
    with studio() as pair:
        pair.server.download_script = [("downloading", 0.1), (status, 0.3)]
        with pytest.raises(LimitError, match=status) as caught:
            pair.provider.pull(NAME, on_progress=told.append, timeout=Limits(idle_s=20))

    assert (caught.value.limit, caught.value.limit_s) == ("idle_s", 20)
    assert "continues the download" in str(caught.value.hint)
    assert told[-1].status == status


@exactly
def test_one_that_moves_slowly_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "WAITS_S", (10, 10))
    with studio() as pair:
        steps = [("downloading", share / 10) for share in range(6)]
        pair.server.download_script = [*steps, ("completed", 1.0)]
        assert pair.provider.pull(NAME, timeout=Limits(idle_s=35)).name == NAME


@exactly
def test_a_total_ends_the_waiting() -> None:
    with studio() as pair:
        pair.server.download_script = [("paused", 0.3)]
        with pytest.raises(LimitError) as caught:
            pair.provider.pull(NAME, timeout=30)

    assert (caught.value.limit, caught.value.elapsed_s) == ("total_s", 30)


@exactly
def test_the_providers_own_total_does_not_bound_a_transfer() -> None:
    with studio() as pair:
        pair.server.download_script = [("downloading", 0.3)] * 60 + [("completed", 1.0)]
        with LMStudioProvider(pair.server.url, timeout=5) as provider:
            assert provider.pull(NAME).name == NAME


@exactly
@pytest.mark.parametrize("fault", ["body stalled", "silence", "headers dripped", "body dripped"])
def test_silence_of_the_server_is_silence(fault: str) -> None:
    with studio() as pair:
        pair.server.break_next(fault, path="/api/v1/models/download/status")
        with pytest.raises(LimitError) as caught:
            pair.provider.pull(NAME, timeout=Limits(idle_s=0.25))

    assert (caught.value.limit, caught.value.limit_s) == ("idle_s", 0.25)


@pytest.mark.parametrize("fault", ["closed without an answer", "body cut"])
def test_a_question_that_breaks_off_does_not_end_the_following(fault: str) -> None:
    with studio() as pair:
        pair.server.break_next(fault, path="/api/v1/models/download/status")
        assert pair.provider.pull(NAME).name == NAME


def test_a_server_that_stays_away_does() -> None:
    with studio() as pair:
        pair.server.break_next(
            "closed without an answer", times=None, path="/api/v1/models/download/status"
        )
        with pytest.raises(StreamInterruptedError):
            pair.provider.pull(NAME)


@exactly
def test_the_work_on_a_whole_file_may_take_as_long_as_a_load() -> None:
    with studio() as pair:
        pair.server.download_script = [("downloading", 1.0)]
        limits = Limits(idle_s=10, load_s=40)
        with pytest.raises(LimitError, match="downloading") as caught:
            pair.provider.pull(NAME, timeout=limits)

    assert (caught.value.limit, caught.value.limit_s) == ("load_s", 40)


def test_cancelling_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "WAITS_S", (60.0, 60.0))
    token = CancelToken()
    with studio() as pair:
        timer = threading.Timer(0.1, token.cancel)
        told = timer.start  # as soon as the download has begun
        with pytest.raises(CancelledError):
            pair.provider.pull(NAME, on_progress=lambda _: told(), cancel=token)
        timer.join()


def test_what_on_progress_raises_ends_the_call() -> None:
    def stop(_: Progress) -> None:
        raise ZeroDivisionError

    with studio() as pair:
        with pytest.raises(ZeroDivisionError):
            pair.provider.pull(NAME, on_progress=stop)


@pytest.mark.parametrize("answer", [{}, {"status": 7}, {"job_id": "x"}, [1]])
def test_what_is_no_job_is_an_error(answer: Any) -> None:
    def script(exchange: Exchange) -> List[bytes]:
        return [http_answer({"models": []}) if exchange.method == "GET" else http_answer(answer)]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(ProtocolError):
            provider.download(NAME)


def test_a_job_without_a_name_cannot_be_followed() -> None:
    def script(exchange: Exchange) -> List[bytes]:
        job = {"status": "downloading"}
        return [http_answer({"models": []}) if exchange.method == "GET" else http_answer(job)]

    with ScriptedServer(script) as server, LMStudioProvider(server.url) as provider:
        with pytest.raises(ProtocolError, match="job_id"):
            provider.pull(NAME)


def test_a_job_goes_there_and_back() -> None:
    with studio() as pair:
        job = pair.provider.download(NAME)

    assert DownloadJob.from_dict(job.to_dict()) == job
