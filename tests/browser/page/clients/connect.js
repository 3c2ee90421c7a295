import {Code, ConnectError, createClient, encodeBinaryHeader} from '@connectrpc/connect';
import {createConnectTransport, createGrpcWebTransport} from '@connectrpc/connect-web';
import {BadRequestSchema} from '../gen/google/rpc/error_details_pb';
import {Absent, Echo, Lookup} from '../gen/tests/echo_pb';
import {CallError, customMetadata} from '../calls';

const fetchWithCookies = (url, options) => fetch(url, {...options, credentials: 'include'});

export const grpcWebProto = (baseUrl) => connect(createGrpcWebTransport(options(baseUrl)));
export const grpcWebJson = (baseUrl) =>
  connect(createGrpcWebTransport({...options(baseUrl), useBinaryFormat: false}));
export const connectJson = (baseUrl) => connect(createConnectTransport(options(baseUrl)));
export const connectProto = (baseUrl) => connect(createConnectTransport({...options(baseUrl), useBinaryFormat: true}));
export const connectJsonGet = (baseUrl) => byGet(createConnectTransport({...options(baseUrl), useHttpGet: true}));
export const connectProtoGet = (baseUrl) =>
  byGet(createConnectTransport({...options(baseUrl), useHttpGet: true, useBinaryFormat: true}));

const options = (baseUrl) => ({baseUrl, fetch: fetchWithCookies});

/** The same, with a unary method that has no side effects. */
function byGet(transport) {
  const lookup = createClient(Lookup, transport);
  return connect(transport, (request, options) => lookup.find(request, options));
}

function connect(transport, unary) {
  const echo = createClient(Echo, transport);
  const absent = createClient(Absent, transport);

  const translated = async (call, action) => {
    const answer = {};
    const options = {
      headers: headers(call.metadata),
      timeoutMs: call.timeout,
      signal: call.signal,
      onHeader: (received) => (answer.headers = customMetadata(received)),
      onTrailer: (received) => (answer.trailers = customMetadata(received)),
    };
    try {
      return {message: await action(options), ...answer};
    } catch (error) {
      throw translate(ConnectError.from(error));
    }
  };

  return {
    unary: (request, call) => translated(call, (options) => (unary ?? echo.unary)(request, options)),
    missing: (request, call) => translated(call, (options) => echo.missing(request, options)),
    absent: (request, call) => translated(call, (options) => absent.call(request, options)),
    stream: (request, call, onMessage) =>
      translated(call, async (options) => {
        for await (const message of echo.serverStream(request, options)) onMessage(message);
      }),
  };
}

function headers(metadata) {
  return Object.entries(metadata).map(([name, value]) => [
    name,
    typeof value === 'string' ? value : encodeBinaryHeader(value),
  ]);
}

function translate(error) {
  const violations = error.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  return new CallError(error.code, error.rawMessage, violations, Code[error.code], customMetadata(error.metadata));
}
