"""Makes sessions on a node, so that lists are not empty: sessions.py URL. They last as long as the node lets silent ones."""

import json
import sys
import urllib.request

PLACES = {"alice": ["/chat/room", "/chat/**"], "bob": ["/chat/room"], "carol": []}
# More than the questions disconnect.
PLACES |= {f"user{n}": ["/chat/many"] for n in range(60)}


def ask(browser, url, *messages):
    request = urllib.request.Request(url, json.dumps(messages).encode(), {"Content-Type": "application/json"})
    with browser.open(request, timeout=10) as answer:
        replies = json.load(answer)
    assert all(reply["successful"] for reply in replies), replies
    return replies


for user, channels in PLACES.items():
    url = sys.argv[1]
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    handshake = {
        "channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"],
        "ext": {"halley": {"user": user}},
    }
    client = ask(browser, url, handshake)[0]["clientId"]
    for channel in channels:
        ask(browser, url, {"channel": "/meta/subscribe", "clientId": client, "subscription": channel})
    ask(browser, url, {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling", "advice": {"timeout": 0}})
