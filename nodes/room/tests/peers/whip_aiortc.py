"""aiortc as an encoder and as a player, for the test `whip_peers`.

  whip_aiortc.py publish URL TOKEN            publishes until its input ends
  whip_aiortc.py play URL TOKEN VIDEO AUDIO   plays until so many frames were decoded

Says what it did as lines of JSON.
"""

import asyncio
import fractions
import json
import sys
import urllib.request
from urllib.parse import urljoin

import aioice.ice
import av
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

# It leaves loopback out of its candidates, and the test has nothing else.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]

PATIENCE = 30


def say(**what):
    print(json.dumps(what), flush=True)


async def ask(method, url, token, kind=None, body=None, **headers):
    """Status, headers and body of what is answered."""
    headers = {"authorization": f"Bearer {token}", **headers}
    if kind:
        headers["content-type"] = kind
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data, headers, method=method)

    def send():
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.headers, answer.read().decode()

    return await asyncio.to_thread(send)


class Picture(MediaStreamTrack):
    """Thirty pictures a second, each another grey."""

    kind = "video"
    count = 0

    async def recv(self):
        await asyncio.sleep(1 / 30)
        frame = av.VideoFrame(320, 240, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([self.count % 256]) * plane.buffer_size)
        frame.pts, frame.time_base = self.count * 3000, fractions.Fraction(1, 90000)
        self.count += 1
        return frame


class Sound(MediaStreamTrack):
    """Twenty milliseconds at a time, of a square wave."""

    kind = "audio"
    count = 0

    async def recv(self):
        await asyncio.sleep(0.02)
        frame = av.AudioFrame("s16", "mono", 960)
        samples = b"".join((b"\x00\x20" if at // 48 % 2 else b"\x00\xe0") for at in range(960))
        frame.planes[0].update(samples)
        frame.pts, frame.sample_rate = self.count * 960, 48000
        frame.time_base = fractions.Fraction(1, 48000)
        self.count += 1
        return frame


async def negotiate(peer, url, token):
    """Posts an offer; gives the URL of what was made."""
    await peer.setLocalDescription(await peer.createOffer())
    offer = peer.localDescription.sdp
    status, headers, answer = await ask("POST", url, token, "application/sdp", offer)
    assert status == 201, status
    assert headers["content-type"] == "application/sdp", headers["content-type"]
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    made = urljoin(url, headers["location"])
    # Its candidates stand in the offer; told again they do no harm.
    ice = [line for line in offer.splitlines() if line.startswith(("a=ice-", "a=candidate:"))]
    fragment = "\r\n".join([*dict.fromkeys(ice), ""])
    tag = {"if-match": headers["etag"]}
    kind = "application/trickle-ice-sdpfrag"
    status, _, _ = await ask("PATCH", made, token, kind, fragment, **tag)
    assert status == 204, status
    return made


async def publish(url, token):
    peer = RTCPeerConnection()
    peer.addTrack(Sound())
    peer.addTrack(Picture())
    made = await negotiate(peer, url, token)
    say(made=made)
    await asyncio.to_thread(sys.stdin.read)
    status, _, _ = await ask("DELETE", made, token)
    assert status == 200, status
    await peer.close()


async def play(url, token, wanted):
    peer = RTCPeerConnection()
    counts = {"audio": 0, "video": 0}
    sizes = set()
    enough = asyncio.Event()

    async def count(track):
        while True:
            frame = await track.recv()
            counts[track.kind] += 1
            if track.kind == "video":
                sizes.add((frame.width, frame.height))
            if all(counts[kind] >= wanted[kind] for kind in wanted):
                enough.set()

    tasks = []
    peer.on("track", lambda track: tasks.append(asyncio.ensure_future(count(track))))
    for kind in wanted:
        peer.addTransceiver(kind, direction="recvonly")
    made = await negotiate(peer, url, token)
    try:
        await asyncio.wait_for(enough.wait(), PATIENCE)
    finally:
        say(**counts, sizes=sorted(sizes))
    status, _, _ = await ask("DELETE", made, token)
    assert status == 200, status
    for task in tasks:
        task.cancel()
    await peer.close()


def main():
    match sys.argv[1:]:
        case ["publish", url, token]:
            asyncio.run(publish(url, token))
        case ["play", url, token, video, audio]:
            asyncio.run(play(url, token, {"video": int(video), "audio": int(audio)}))
        case _:
            sys.exit(__doc__)


main()
