// A gRPC-Web call with nothing but fetch: yields every message as it arrives, and throws unless the status is 0.
export async function* call(path, request) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/grpc-web+json", "X-Grpc-Web": "1" },
    body: frame(new TextEncoder().encode(JSON.stringify(request))),
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  // An error before the first message has no body: its status is in the headers.
  let trailers = response.headers.has("grpc-status") ? response.headers : null;
  for await (const [flags, payload] of frames(response.body.getReader())) {
    const text = new TextDecoder().decode(payload);
    if (flags & 0x80) trailers = new Headers(text.trim().split("\r\n").map((line) => line.split(/:(.*)/).slice(0, 2)));
    else yield JSON.parse(text);
  }
  if (!trailers) throw new Error("the response was cut short");
  const status = trailers.get("grpc-status");
  if (status !== "0") throw new Error(`status ${status}: ${decodeURIComponent(trailers.get("grpc-message") ?? "")}`);
}

// A frame is a byte of flags, the payload's length in 4 bytes, big-endian, and the payload.
function frame(payload) {
  const bytes = new Uint8Array(5 + payload.length);
  new DataView(bytes.buffer).setUint32(1, payload.length);
  bytes.set(payload, 5);
  return bytes;
}

// The network cuts a body anywhere, so bytes are kept until they make a whole frame.
async function* frames(reader) {
  let kept = new Uint8Array();
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    const bytes = new Uint8Array(kept.length + chunk.value.length);
    bytes.set(kept);
    bytes.set(chunk.value, kept.length);
    kept = bytes;
    while (kept.length >= 5) {
      const end = 5 + new DataView(kept.buffer, kept.byteOffset).getUint32(1);
      if (kept.length < end) break;
      yield [kept[0], kept.subarray(5, end)];
      kept = kept.subarray(end);
    }
  }
  if (kept.length) throw new Error("the response was cut short");
}
