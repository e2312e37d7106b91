"""Calls a URL with each HTTP client that this Python has; a line of JSON for each."""

import json
import sys


def with_urllib(url):
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=15) as answer:
        answer.read()


def with_requests(url):
    import requests

    requests.get(url, timeout=15)


def with_httpx(url):
    import httpx

    httpx.get(url, timeout=15)


def with_urllib3(url):
    import urllib3

    urllib3.PoolManager().request("GET", url, timeout=15, retries=False)


def with_aiohttp(url):
    import asyncio

    import aiohttp

    async def call():
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(trust_env=True, timeout=timeout) as session:
            async with session.get(url) as answer:
                await answer.read()

    asyncio.run(call())


CLIENTS = {
    "urllib": with_urllib,
    "requests": with_requests,
    "httpx": with_httpx,
    "urllib3": with_urllib3,
    "aiohttp": with_aiohttp,
}

for name, call in CLIENTS.items():
    if name == "urllib":
        version = sys.version.split()[0]
    else:
        try:
            version = getattr(__import__(name), "__version__", None)
        except Exception:
            continue
    error = None
    try:
        call(sys.argv[1] + name)
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    print(json.dumps({"stack": name, "version": version, "error": error}), flush=True)
