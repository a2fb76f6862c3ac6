"""Pulls from the fake server: progress, stalls, resuming and ends."""

from __future__ import annotations

import threading
from typing import Any, Iterator, List, Optional, Type

import pytest

from localproviders import (
    AuthenticationError,
    CancelledError,
    CancelToken,
    LimitError,
    Limits,
    ModelNotFoundError,
    OllamaProvider,
    Progress,
    ProtocolError,
    ProviderError,
    RetryPolicy,
    ServerError,
    StreamInterruptedError,
    UnsupportedError,
)
from localproviders._http.deadline import LOCAL_WORK, TRANSFERRING, WORKING, Call
from localproviders.ollama.transfers import ProgressDetector
from localproviders.telemetry import CallEvent
from localproviders.testing import FakeModel, FakeOllama, ScriptedServer
from tests.support.fake_time import FakeTime
from tests.support.timing import GRACE_S

pytestmark = pytest.mark.usefixtures("fake_clock")

IDLE_S = 0.25
QUICK = Limits(load_s=5, first_token_s=5, idle_s=IDLE_S, total_s=30)


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with FakeOllama([]) as fake:
        yield fake


@pytest.fixture
def ollama(server: FakeOllama) -> Iterator[OllamaProvider]:
    with OllamaProvider(server.url, timeout=QUICK, retry=RetryPolicy(first_wait_s=0)) as provider:
        yield provider


def pulls(server: FakeOllama) -> int:
    return sum(exchange.path == "/api/pull" for exchange in server.exchanges)


def test_a_model_is_pulled_with_reports_of_each_file(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    reports: List[Progress] = []
    info = ollama.pull("LLaMA3.2", on_progress=reports.append)
    assert (info.name, info.size_bytes) == (
        "llama3.2:latest", server.size_of(server.models[0]),
    )  # fmt: skip
    assert info.capabilities.chat is True
    assert reports[0].status == "pulling manifest"
    assert reports[-1].status == "success"
    first = [r for r in reports if r.digest == reports[1].digest]
    assert [r.fraction for r in first] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert len({r.digest for r in reports if r.digest}) == 3
    assert server.exchanges[0].json == {"model": "LLaMA3.2", "stream": True}
    assert len({exchange.connection for exchange in server.exchanges}) == 1


def test_what_is_there_is_reported_once(server: FakeOllama, ollama: OllamaProvider) -> None:
    ollama.pull("llama3.2")
    reports: List[Progress] = []
    ollama.pull("llama3.2", insecure=True, on_progress=reports.append)
    assert [r.fraction for r in reports if r.digest] == [1.0, 1.0, 1.0]
    assert [e for e in server.exchanges if e.path == "/api/pull"][-1].json["insecure"] is True


def test_a_cloud_model_is_stored_as_a_stub(ollama: OllamaProvider) -> None:
    assert ollama.pull("gpt-oss:120b-cloud").remote_host == "https://ollama.com:443"


def test_what_was_known_of_a_model_is_forgotten(server: FakeOllama, ollama: OllamaProvider) -> None:
    server.models.append(FakeModel(name="llama3.2"))
    ollama.chat("Hi", model="llama3.2")
    server.registry[0] = FakeModel(name="llama3.2", remote_host="https://ollama.com:443")
    ollama.pull("llama3.2")
    with pytest.raises(ProviderError, match="runs in the cloud"):
        ollama.chat("Hi", model="llama3.2")
    assert sum(exchange.path == "/api/chat" for exchange in server.exchanges) == 1


# --- coming to a halt -----------------------------------------------------------------------

HALTS = [
    "a transfer that stands still",
    "a transfer whose progress goes up and down",
    "a transfer that fails: a bad connection",
    "a transfer that fails: a corrupt file",
    "body stalled",
    "body cut",
    "HTTP/1.0 cut",
    "body reset",
]


@pytest.mark.sample(1)
@pytest.mark.parametrize("halt", HALTS)
def test_a_pull_that_halts_goes_on_as_long_as_it_gets_further(
    server: FakeOllama, ollama: OllamaProvider, halt: str
) -> None:
    # Five stalls, each at a later byte; fewer are allowed in a row without a new byte.
    server.break_next(halt, times=5, path="/api/pull")
    reports: List[Progress] = []
    assert ollama.pull("llama3.2", on_progress=reports.append).name == "llama3.2:latest"
    assert pulls(server) == 6
    assert reports[-1].status == "success"


@pytest.mark.sample(1)
@pytest.mark.parametrize("halt", HALTS)
def test_a_pull_that_halts_at_the_same_byte_ends(
    server: FakeOllama, ollama: OllamaProvider, halt: str
) -> None:
    server.keeps_parts = False
    server.break_next(halt, times=None, path="/api/pull")
    with pytest.raises(ProviderError) as caught:
        ollama.pull("llama3.2")
    # The first attempt transfers new bytes; then three in a row do not.
    assert pulls(server) == 4
    assert caught.value.model == "llama3.2"
    assert server.wait_for_connections(1, GRACE_S)


@pytest.mark.parametrize("end", ["a transfer without success", "body cut before the final chunk"])
def test_only_success_is_success(server: FakeOllama, ollama: OllamaProvider, end: str) -> None:
    server.break_next(end, times=None, path="/api/pull")
    if end.startswith("body"):  # success was reported; the rest of the body does not matter
        assert ollama.pull("llama3.2").name == "llama3.2:latest"
        return
    with pytest.raises(StreamInterruptedError, match="before the server reported success"):
        ollama.pull("llama3.2")
    server.heal()
    server.break_next(end, times=2)
    assert ollama.pull("llama3.2").name == "llama3.2:latest"


def test_half_a_report_at_the_end_of_the_body_is_a_cut() -> None:
    head = b"HTTP/1.0 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
    halves = [b'{"status":"pulling manifest"}\n{"status":"pul', lambda exchange: exchange.close()]
    with ScriptedServer(lambda _: [head, *halves]) as server:
        with OllamaProvider(server.url, retry=RetryPolicy(attempts=1)) as provider:
            with pytest.raises(StreamInterruptedError, match="in the middle of a record"):
                provider.pull("m")


def test_the_error_says_that_it_stood_still(
    server: FakeOllama, ollama: OllamaProvider, fake_clock: FakeTime
) -> None:
    server.keeps_parts = False
    server.break_next("a transfer that stands still", times=None)
    began = fake_clock.now
    with pytest.raises(LimitError, match=r"made no progress for 0\.25 s") as caught:
        ollama.pull("llama3.2")
    assert (caught.value.limit, caught.value.limit_s) == ("idle_s", IDLE_S)
    assert caught.value.retryable
    assert "idle_s" in str(caught.value.hint)
    assert fake_clock.now - began == 4 * IDLE_S


def test_a_policy_of_one_attempt_repeats_nothing(server: FakeOllama) -> None:
    server.break_next("body cut", path="/api/pull")
    with OllamaProvider(server.url, retry=RetryPolicy(attempts=1)) as provider:
        with pytest.raises(StreamInterruptedError):
            provider.pull("llama3.2")
    assert pulls(server) == 1


def test_bytes_that_are_counted_down_and_up_again_are_no_movement_but_no_error(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    server.break_next("a transfer that goes back")
    reports: List[Progress] = []
    ollama.pull("llama3.2", on_progress=reports.append)
    done = [r.completed_bytes or 0 for r in reports if r.digest == reports[1].digest]
    assert done != sorted(done)
    assert pulls(server) == 1


def test_silent_work_may_take_as_long_as_a_load(server: FakeOllama, ollama: OllamaProvider) -> None:
    server.break_next("slow work")  # longer than idle_s
    ollama.pull("llama3.2")
    assert pulls(server) == 1


def test_silent_work_without_end_is_an_error(server: FakeOllama) -> None:
    server.break_next("silent work")
    limits = QUICK.replace(load_s=0.5)
    with OllamaProvider(server.url, timeout=limits) as provider:
        with pytest.raises(LimitError) as caught:
            provider.pull("llama3.2")
    assert (caught.value.limit, pulls(server)) == ("load_s", 1)
    assert caught.value.elapsed_s == 0.5


def test_a_slow_listener_is_not_the_servers_silence(
    server: FakeOllama, ollama: OllamaProvider, fake_clock: FakeTime
) -> None:
    slept: List[float] = []

    def sleep_once(report: Progress) -> None:
        if report.fraction and not slept:
            slept.append(2 * IDLE_S)
            fake_clock.advance(slept[0])

    server.report_pause_s = 0.01
    ollama.pull("llama3.2", on_progress=sleep_once)
    assert slept and pulls(server) == 1


def test_a_server_that_starts_anew_is_waited_for(
    server: FakeOllama, ollama: OllamaProvider
) -> None:
    gone = threading.Event()
    server.report_pause_s = 0.02

    def stop(report: Progress) -> None:
        if report.fraction and not gone.is_set():
            gone.set()
            with server.down():
                pass

    assert ollama.pull("llama3.2", on_progress=stop).name == "llama3.2:latest"
    assert pulls(server) == 2


def test_a_server_that_takes_its_time_to_start_anew_is_waited_for(server: FakeOllama) -> None:
    refusals: List[str] = []

    def stop(report: Progress) -> None:
        if report.fraction and not refusals:
            server.stop()

    def start(event: CallEvent) -> None:
        if event.error == "UnreachableError":
            refusals.append(event.kind)
        if len(refusals) == 3:  # more than one request is sent again
            server.start()

    server.report_pause_s = 0.02
    policy = RetryPolicy(first_wait_s=0)
    with OllamaProvider(server.url, retry=policy, listeners=(start,)) as provider:
        assert provider.pull("llama3.2", on_progress=stop).name == "llama3.2:latest"
    assert len(refusals) == 3


# --- errors ---------------------------------------------------------------------------------

FAILURES: Any = {
    "no such model": (ModelNotFoundError, 1),
    "a server too old": (UnsupportedError, 1),
    "no permission": (AuthenticationError, 1),
    "another platform": (UnsupportedError, 1),
    "no connection": (ServerError, 4),
}


@pytest.mark.parametrize("what", FAILURES)
def test_what_the_registry_says_is_an_error(
    server: FakeOllama, ollama: OllamaProvider, what: str
) -> None:
    expected, times = FAILURES[what]
    server.keeps_parts = False
    server.break_next(f"a transfer that fails: {what}", times=None)
    error: Type[ProviderError] = expected
    with pytest.raises(error) as caught:
        ollama.pull("llama3.2")
    assert type(caught.value) is error
    assert caught.value.server_message
    assert pulls(server) == times
    assert server.models == []


def test_an_unknown_model_is_not_found(server: FakeOllama, ollama: OllamaProvider) -> None:
    with pytest.raises(ModelNotFoundError, match="file does not exist") as caught:
        ollama.pull("nope")
    assert "registry" in str(caught.value.hint)
    assert pulls(server) == 1


def test_a_report_without_a_status_is_no_report(server: FakeOllama, ollama: OllamaProvider) -> None:
    server.break_next("a report without a status")
    with pytest.raises(ProtocolError):
        ollama.pull("llama3.2")
    assert pulls(server) == 1


class Mine(BaseException):
    """An exception from a function of the caller."""


@pytest.mark.parametrize("raised", [Mine("x"), KeyboardInterrupt(), StreamInterruptedError("x")])
def test_what_a_listener_raises_ends_the_call_and_the_connection(
    server: FakeOllama, ollama: OllamaProvider, raised: BaseException
) -> None:
    server.report_pause_s = 0.02

    def fail(report: Progress) -> None:
        raise raised

    with pytest.raises(type(raised)):
        ollama.pull("llama3.2", on_progress=fail)
    assert server.wait_for_connections(0, GRACE_S)
    assert pulls(server) == 1


def test_a_pull_can_be_cancelled(server: FakeOllama, ollama: OllamaProvider) -> None:
    server.break_next("a transfer that stands still")
    token = CancelToken()

    def cancel(report: Progress) -> None:
        if report.fraction:
            token.cancel()

    with pytest.raises(CancelledError):
        ollama.pull("llama3.2", on_progress=cancel, cancel=token)
    assert server.wait_for_connections(0, GRACE_S)


def test_a_total_ends_a_pull_that_moves(server: FakeOllama, ollama: OllamaProvider) -> None:
    server.report_pause_s = 0.1
    server.layers = (1_000_000_000,) * 50
    with pytest.raises(LimitError) as caught:
        ollama.pull("llama3.2", timeout=QUICK.replace(total_s=0.5))
    assert (caught.value.limit, caught.value.elapsed_s) == ("total_s", 0.5)


def test_the_providers_total_does_not_end_a_pull(server: FakeOllama) -> None:
    server.report_pause_s = 0.05
    with OllamaProvider(server.url, timeout=0.4) as provider:
        assert provider.pull("llama3.2").name == "llama3.2:latest"


def test_listeners_hear_of_each_attempt(server: FakeOllama) -> None:
    server.break_next("body cut", times=2, path="/api/pull")
    events: List[CallEvent] = []
    policy = RetryPolicy(first_wait_s=0)
    with OllamaProvider(server.url, retry=policy, listeners=(events.append,)) as provider:
        provider.pull("llama3.2")
    assert [(event.kind, event.attempts) for event in events] == [
        ("started", 1), ("connected", 1), ("retried", 1), ("connected", 2), ("retried", 2),
        ("connected", 3), ("finished", 3),
    ]  # fmt: skip


# --- what counts as movement ----------------------------------------------------------------


def report(done: Optional[int], digest: Optional[str] = "sha256:a", status: str = "p") -> Progress:
    return Progress(status=status, digest=digest, completed_bytes=done, total_bytes=100)


def moves(detector: ProgressDetector, *dones: Optional[int]) -> List[bool]:
    return [detector.shows_progress(report(done)) for done in dones]


def test_only_more_bytes_are_movement() -> None:
    assert moves(ProgressDetector(), 0, 0, 5, 5, 3, 4, 5, 6) == [
        True, False, True, False, False, False, False, True,
    ]  # fmt: skip


def test_another_file_and_another_phase_are_movement_once() -> None:
    detector = ProgressDetector()
    assert detector.shows_progress(report(9)) and detector.shows_progress(report(1, "sha256:b"))
    assert detector.shows_progress(report(None, None, "verifying"))
    assert not detector.shows_progress(report(None, None, "verifying"))
    assert not detector.shows_progress(report(9))


def test_an_attempt_gets_further_only_past_all_before_it() -> None:
    detector = ProgressDetector()
    detector.begin()
    assert moves(detector, 0, 50) and detector.got_further
    detector.begin()
    assert moves(detector, 40, 45, 50) == [True, True, True]
    assert not detector.got_further
    detector.begin()
    assert moves(detector, 51) and detector.got_further


def test_a_file_that_was_never_begun_is_not_further() -> None:
    detector = ProgressDetector()
    detector.begin()
    assert detector.shows_progress(report(0)) and detector.shows_progress(report(None, None))
    assert not detector.got_further


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_clock_of_silence_begins_anew_with_each_movement_only() -> None:
    clock = Clock()
    call = Call(Limits(idle_s=10, load_s=60, total_s=1000), clock=clock)
    call.enter(TRANSFERRING)
    clock.now = 9
    assert call.left() == 1  # a report without a new byte does not restart the limit
    call.enter(TRANSFERRING)
    assert call.left() == 10
    call.exclude(5)
    assert call.left() == 15
    call.enter(WORKING)
    assert call.left() == 60
    call.enter(LOCAL_WORK)
    assert call.left() == 991


def test_what_a_transfer_remembers_of_a_report_is_short() -> None:
    """A transfer may have reports of any number and size."""
    detector = ProgressDetector()
    for number in range(3):
        tail = str(number) + "x" * 100_000
        detector.shows_progress(
            Progress(status="s" * 200 + tail, digest="d" * 200 + tail, completed_bytes=1)
        )

    kept = [*detector._most_bytes, *(text for phase in detector._seen for text in phase if text)]
    assert max(map(len, kept)) == 200
