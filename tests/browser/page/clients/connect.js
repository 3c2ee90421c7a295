import {Code, ConnectError, createClient, encodeBinaryHeader} from '@connectrpc/connect';
import {createGrpcWebTransport} from '@connectrpc/connect-web';
import {BadRequestSchema} from '../gen/google/rpc/error_details_pb';
import {Absent, Echo} from '../gen/tests/echo_pb';
import {CallError, customMetadata} from '../calls';

const fetchWithCookies = (url, options) => fetch(url, {...options, credentials: 'include'});

export const connectProto = (baseUrl) => connect(createGrpcWebTransport({baseUrl, fetch: fetchWithCookies}));
export const connectJson = (baseUrl) =>
  connect(createGrpcWebTransport({baseUrl, fetch: fetchWithCookies, useBinaryFormat: false}));

export function connect(transport) {
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
    unary: (request, call) => translated(call, (options) => echo.unary(request, options)),
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
