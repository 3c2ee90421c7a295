// A call as a command or as code, to copy. The token is not in it, but the name of a variable that has it.

import { PROTOCOLS, isStream, makeRequest } from "./calls.js";

/** @typedef {{protocol: string, requests: any[], metadata: [string, string][], timeout?: number, tokenHeader: string, hasToken: boolean}} Options */

const TOKEN = "$TOKEN";
const KEYWORDS = /^(False|None|True|and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield)$/;

/** @param {any} schema @param {any} service @param {any} method @param {Options} options @returns {{name: string, text: string}[]} */
export function snippets(schema, service, method, options) {
  const target = { schema, service, method, options, root: new URL(schema.base, document.baseURI).href.replace(/\/$/, "") };
  return [
    { name: "curl", text: curl(target) },
    { name: "buf curl", text: bufCurl(target) },
    { name: "grpcurl", text: grpcurl(target) },
    { name: "connect-web", text: connectWeb(target) },
    { name: "Python", text: python(target) },
  ];
}

const quoted = (/** @type {string} */ text) => `'${text.replace(/'/g, "'\\''")}'`;
const json = (/** @type {any} */ value) => JSON.stringify(value);
const serving = (/** @type {any} */ { options }) => PROTOCOLS.find(({ id }) => id === options.protocol)?.served;
const isLocal = () => location.protocol === "http:";

/** The headers of the caller's own; those with the token in double quotes, where the shell finds the variable.
 * @param {any} target @returns {string[]} */
function headerOptions({ options: { hasToken, tokenHeader, metadata } }) {
  const token = tokenHeader === "authorization" ? `"Authorization: Bearer ${TOKEN}"` : `"${tokenHeader}: ${TOKEN}"`;
  const others = metadata.map((/** @type {[string, string]} */ [name, value]) => quoted(`${name}: ${value}`));
  return [...(hasToken ? [token] : []), ...others].map((header) => `-H ${header}`);
}

/** @param {string[]} parts */
const command = (...parts) => parts.filter(Boolean).join(" \\\n  ");

/** @param {any} target */
function curl(target) {
  const { schema, service, method, options } = target;
  const { url, headers, body } = makeRequest(schema, service, method, { ...options, metadata: [] });
  const own = [...headers].map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  const isBinary = options.protocol !== "connect-get" && (isStream(method) || !options.protocol.endsWith("-json") || serving(target) === "grpc-web");
  // Of a text that begins with @, curl would read a file; JSON has another way to write it.
  const isText = body && body.every((byte) => byte > 31 && byte < 127) && !(isBinary && body[0] === 64);
  const text = new TextDecoder().decode(body);
  const data = !body ? "" : !isBinary || isText ? `--data-binary ${quoted(text.replace(/^@/, "\\u0040"))}` : "--data-binary @-";
  const pipe = body && isBinary && !isText ? `printf ${quoted(octal(body))} | ` : "";
  return command(`${pipe}curl -sS${isStream(method) ? " -N" : ""}`, ...headerOptions(target), ...own, data, isBinary ? "--output -" : "", quoted(url));
}

/** @param {Uint8Array} bytes as the format of printf */
function octal(bytes) {
  return Array.from(bytes, (byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9 .,:;/_{}[\]"=]/.test(character) ? character : `\\${byte.toString(8).padStart(3, "0")}`;
  }).join("");
}

/** @param {any} target */
function bufCurl(target) {
  const { service, method, options, root } = target;
  const protocol = serving(target) === "connect" ? "connect" : "grpcweb";
  return `# Descriptors of the services: flask grpc descriptors --out services.binpb\n${command(
    `buf curl --schema services.binpb --protocol ${protocol}`,
    ...headerOptions(target),
    options.timeout ? `--max-time ${options.timeout}` : "",
    `--data ${quoted(options.requests.map(json).join("\n"))}`,
    quoted(`${root}/${service.name}/${method.name}`),
  )}`;
}

/** @param {any} target */
function grpcurl(target) {
  const { schema, service, method, options } = target;
  const note = schema.protocols.includes("grpc")
    ? "# grpcurl speaks gRPC alone, which needs HTTP/2 and a server with trailers.\n"
    : "# grpcurl speaks gRPC alone, which this app does not serve: call a proxy that translates it, such as Envoy.\n";
  const host = location.port ? location.host : `${location.hostname}:${isLocal() ? 80 : 443}`;
  return `${note}# Descriptors of the services: flask grpc descriptors --out services.binpb\n${command(
    `grpcurl${isLocal() ? " -plaintext" : ""} -protoset services.binpb`,
    ...headerOptions(target),
    options.timeout ? `-max-time ${options.timeout}` : "",
    `-d ${quoted(options.requests.map(json).join("\n"))}`,
    host,
    `${service.name}/${method.name}`,
  )}`;
}

/** Names of a message without its package.
 * @param {string} type */
const withoutPackage = (type) => type.split(".").slice(type.split(".").findIndex((part) => /^[A-Z]/.test(part)));
const lowerFirst = (/** @type {string} */ name) => name[0].toLowerCase() + name.slice(1);

/** @param {any} target */
function connectWeb(target) {
  const { schema, service, method, options, root } = target;
  const transport = serving(target) === "connect" ? "createConnectTransport" : "createGrpcWebTransport";
  const name = withoutPackage(service.name).join("_");
  const request = `${withoutPackage(method.request).join("_")}Schema`;
  const file = schema.messages[method.request].file ?? service.file;
  const source = file.startsWith("google/protobuf/") ? "@bufbuild/protobuf/wkt" : `./gen/${file.replace(/\.proto$/, "_pb")}`;
  const settings = [
    `baseUrl: ${json(root)}`,
    options.protocol === "connect" && "useBinaryFormat: true",
    options.protocol === "connect-get" && "useHttpGet: true",
    options.protocol === "grpc-web-json" && "useBinaryFormat: false",
  ].filter(Boolean).join(", ");
  const headers = [
    ...(options.hasToken ? [options.tokenHeader === "authorization" ? "authorization: `Bearer ${token}`" : `${json(options.tokenHeader)}: token`] : []),
    ...options.metadata.map((/** @type {[string, string]} */ [key, value]) => `${json(key)}: ${json(value)}`),
  ];
  const given = [headers.length ? `headers: { ${headers.join(", ")} }` : "", options.timeout ? `timeoutMs: ${options.timeout * 1000}` : ""].filter(Boolean);
  const tail = given.length ? `, { ${given.join(", ")} }` : "";
  const sameFile = source === `./gen/${service.file.replace(/\.proto$/, "_pb")}`;
  const call = `client.${lowerFirst(method.name)}(${method.clientStreaming ? "requests()" : "request"}${tail})`;
  return [
    'import { fromJson } from "@bufbuild/protobuf";',
    'import { createClient } from "@connectrpc/connect";',
    `import { ${transport} } from "@connectrpc/connect-web";`,
    sameFile
      ? `import { ${name}, ${request} } from ${json(source)};`
      : `import { ${name} } from ${json(`./gen/${service.file.replace(/\.proto$/, "_pb")}`)};\nimport { ${request} } from ${json(source)};`,
    "",
    ...(options.hasToken ? ['const token = "…";'] : []),
    `const client = createClient(${name}, ${transport}({ ${settings} }));`,
    ...(method.clientStreaming
      ? ["async function* requests() {", ...options.requests.map((/** @type {any} */ each) => `  yield fromJson(${request}, ${json(each)});`), "}"]
      : [`const request = fromJson(${request}, ${json(options.requests[0])});`]),
    method.serverStreaming ? `for await (const response of ${call}) console.log(response);` : `console.log(await ${call});`,
    "",
  ].join("\n");
}

/** @param {any} target */
function python(target) {
  const { schema, service, method, options, root } = target;
  const [folder, module] = moduleOf(service.file);
  const request = schema.messages[method.request].file ? moduleOf(schema.messages[method.request].file) : [folder, module];
  const imports = new Set([folder, module].join() === request.join() ? [importOf(folder, module)] : [importOf(folder, module), importOf(request[0], request[1])]);
  const type = `${request[1]}.${withoutPackage(method.request).join(".")}`;
  const messages = options.requests.map((/** @type {any} */ each) => `ParseDict(json.loads(${pythonText(json(each))}), ${type}())`);
  const channel = [
    json(root),
    ...(options.hasToken ? ['token=os.environ["TOKEN"]'] : []),
    ...(serving(target) === "connect" ? ['protocol="connect"'] : []),
    ...(options.protocol.endsWith("-json") || options.protocol === "connect-get" ? ['codec="json"'] : []),
    ...(options.protocol === "connect-get" ? ["use_get=True"] : []),
    ...(options.protocol === "grpc-web-text" ? ["text=True"] : []),
  ].join(", ");
  const metadata = options.metadata.length ? `, metadata=[${options.metadata.map((/** @type {[string, string]} */ [name, value]) => `(${pythonText(name)}, ${pythonText(value)})`).join(", ")}]` : "";
  const snake = method.name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").replace(/([A-Z]+)([A-Z][a-z])/g, "$1_$2").toLowerCase();
  const argument = method.clientStreaming ? `iter([${messages.join(", ")}])` : messages[0];
  const call = `stub.${snake}${KEYWORDS.test(snake) ? "_" : ""}(${argument}${options.timeout ? `, timeout=${options.timeout}` : ""}${metadata})`;
  return [
    "import json",
    ...(options.hasToken ? ["import os"] : []),
    "",
    "from google.protobuf.json_format import ParseDict",
    "",
    "from flask_grpcweb_scm.client import Channel",
    ...imports,
    "",
    `channel = Channel(${channel})`,
    `stub = channel.stub(${module}.DESCRIPTOR.services_by_name[${json(withoutPackage(service.name).join("."))}])`,
    ...(method.serverStreaming ? [`for response in ${call}:`, "    print(response)"] : [`print(${call})`]),
    "",
  ].join("\n");
}

/** A literal of Python: JSON's are, but for characters beyond the sixteen bits of `\u`, which it may have as they are.
 * @param {string} text */
const pythonText = (text) => json(text).replace(/\u007f/g, "\\u007f");

/** The folder and the module that protoc makes of a file.
 * @param {string} file @returns {[string, string]} */
function moduleOf(file) {
  const parts = file.replace(/\.proto$/, "_pb2").replace(/-/g, "_").split("/");
  return [parts.slice(0, -1).join("."), parts[parts.length - 1]];
}

/** @param {string} folder @param {string} module */
const importOf = (folder, module) => (folder ? `from ${folder} import ${module}` : `import ${module}`);
