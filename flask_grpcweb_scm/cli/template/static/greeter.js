// Calls of Greeter in the Connect protocol: JSON over HTTP, which needs no library.
const service = "/greeter.v1.Greeter";

// Calls a unary method.
async function call(method, request) {
  const response = await post(method, "application/json", JSON.stringify(request));
  return response.json();
}

// Calls a server-streaming method, and yields its responses as they arrive. Each is JSON in a frame: a byte of flags,
// the length in 4 bytes, the JSON. The last frame has the flag 2, and the status.
async function* stream(method, request) {
  const message = new TextEncoder().encode(JSON.stringify(request));
  const frame = new Uint8Array(5 + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, 5);
  const response = await post(method, "application/connect+json", frame);
  const reader = response.body.getReader();
  let bytes = new Uint8Array();
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    bytes = new Uint8Array(await new Blob([bytes, chunk.value]).arrayBuffer());
    while (bytes.length >= 5) {
      const end = 5 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
      if (bytes.length < end) break;
      const body = JSON.parse(new TextDecoder().decode(bytes.subarray(5, end)));
      if (bytes[0] & 2) return check(body.error);
      yield body;
      bytes = bytes.subarray(end);
    }
  }
  throw new Error("the response was cut short");
}

async function post(method, type, body) {
  const response = await fetch(`${service}/${method}`, {method: "POST", headers: {"Content-Type": type}, body});
  if (!response.ok) check(await response.json());
  return response;
}

function check(error) {
  if (error) throw new Error(`${error.code}: ${error.message}`);
}

const output = document.querySelector("output");

function onSubmit(form, show) {
  document.querySelector(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    output.textContent = "";
    try {
      await show(Object.fromEntries(new FormData(event.target)));
    } catch (error) {
      output.textContent = error.message;
    }
  });
}

onSubmit("#hello", async (request) => {
  output.textContent = (await call("SayHello", request)).text;
});
onSubmit("#count", async (request) => {
  for await (const response of stream("CountTo", request)) output.textContent += `${response.number} `;
});
