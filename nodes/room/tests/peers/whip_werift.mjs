// werift as a player and an encoder at once, for the test `whip_peers`: plays by WHEP
// and publishes the packets that come by WHIP, until its input ends.
//
//   whip_werift.mjs MODULE WHEP_URL TOKEN WHIP_URL TOKEN
//
// MODULE is werift's entry. Says what came as lines of JSON.

const [module, from, player, to, encoder] = process.argv.slice(2);
const { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, useOPUS, useVP8 } = await import(module);

const codecs = { audio: [useOPUS()], video: [useVP8()] };
const kinds = ["audio", "video"];
const say = (what) => console.log(JSON.stringify(what));
const check = (what, status, expected) => {
  if (status !== expected) throw new Error(`${what}: ${status}`);
};

async function ask(method, url, token, type, body, more = {}) {
  const headers = { authorization: `Bearer ${token}`, ...more, ...(type && { "content-type": type }) };
  return fetch(url, { method, headers, body, signal: AbortSignal.timeout(30_000) });
}

// Posts an offer; gives the URL of what was made.
async function negotiate(peer, url, token) {
  await peer.setLocalDescription(await peer.createOffer());
  const answer = await ask("POST", url, token, "application/sdp", peer.localDescription.sdp);
  const sdp = await answer.text();
  check(`POST ${url}: ${sdp}`, answer.status, 201);
  await peer.setRemoteDescription({ type: "answer", sdp });
  const made = new URL(answer.headers.get("location"), url).href;
  const fragment = "a=end-of-candidates\r\n";
  const type = "application/trickle-ice-sdpfrag";
  const patched = await ask("PATCH", made, token, type, fragment, { "if-match": answer.headers.get("etag") });
  check(`PATCH ${made}`, patched.status, 204);
  return made;
}

const config = { codecs, iceServers: [], iceAdditionalHostAddresses: ["127.0.0.1"], iceUseIpv6: false };
const [plays, sends] = [new RTCPeerConnection(config), new RTCPeerConnection(config)];
const counts = { audio: 0, video: 0 };
// The first packets of a frame, by its timestamp.
const frames = new Set();

const tracks = kinds.map((kind) => new MediaStreamTrack({ kind }));
const senders = tracks.map((track) => sends.addTransceiver(track, { direction: "sendonly" }).sender);
const receivers = kinds.map((kind) => plays.addTransceiver(kind, { direction: "recvonly" }).receiver);
plays.onTrack.subscribe((track) => {
  const at = kinds.indexOf(track.kind);
  track.onReceiveRtp.subscribe((packet) => {
    counts[track.kind] += 1;
    if (track.kind === "video") frames.add(packet.header.timestamp);
    tracks[at].writeRtp(packet.clone?.() ?? packet);
  });
  senders[at].onPictureLossIndication.subscribe(() => receivers[at].sendRtcpPLI(track.ssrc));
});

const played = await negotiate(plays, from, player);
const published = await negotiate(sends, to, encoder);
say({ made: published });
for await (const _ of process.stdin);
say({ audio: counts.audio, video: counts.video, frames: frames.size });
check("DELETE", (await ask("DELETE", published, encoder)).status, 200);
check("DELETE", (await ask("DELETE", played, player)).status, 200);
process.exit(0);
