"""Cancel a call from another thread, and keep the text that had arrived.

Usage: python examples/cancel_from_thread.py [SECONDS]
"""

import sys
import threading

from localproviders import CancelledError, CancelToken, OllamaProvider


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    token = CancelToken()
    timer = threading.Timer(seconds, token.cancel)  # any thread or a signal handler may cancel
    timer.start()
    try:
        with OllamaProvider(model="llama3.2") as ollama:
            answer = ollama.chat("Count to one million, in words.", cancel=token)
            print(answer.text)
    except CancelledError as error:
        print(f"cancelled; the text so far has {len(error.partial)} characters:")
        print(error.partial)
    finally:
        timer.cancel()
        timer.join()


if __name__ == "__main__":
    main()
