import {GrpcStatusCode, GrpcWebFetchTransport} from '@protobuf-ts/grpcweb-transport';
import {Any} from '../gen-protobuf-ts/google/protobuf/any';
import {BadRequest} from '../gen-protobuf-ts/google/rpc/error_details';
import {Status} from '../gen-protobuf-ts/google/rpc/status';
import {EchoRequest} from '../gen-protobuf-ts/tests/echo';
import {AbsentClient, EchoClient} from '../gen-protobuf-ts/tests/echo.client';
import {CallError, customMetadata, encodeMetadata, fromBase64} from '../calls';

export const protobufTsText = (server) => protobufTs(server, 'text');
export const protobufTsBinary = (server) => protobufTs(server, 'binary');

function protobufTs(baseUrl, format) {
  const transport = new GrpcWebFetchTransport({baseUrl, format, fetchInit: {credentials: 'include'}});
  const echo = new EchoClient(transport);
  const absent = new AbsentClient(transport);
  const unary = (method) => (request, call) =>
    translated(async () => {
      const {response, headers, trailers} = await method(EchoRequest.create(request), options(call));
      return answer(headers, trailers, response);
    });
  return {
    unary: unary((...args) => echo.unary(...args)),
    missing: unary((...args) => echo.missing(...args)),
    absent: unary((...args) => absent.call(...args)),
    stream: (request, call, onMessage) =>
      translated(async () => {
        const stream = echo.serverStream(EchoRequest.create(request), options(call));
        for await (const message of stream.responses) onMessage(message);
        return answer(await stream.headers, await stream.trailers);
      }),
  };
}

function options({metadata, timeout, signal}) {
  return {meta: encodeMetadata(metadata), timeout, abort: signal};
}

function answer(headers, trailers, message) {
  return {
    message,
    headers: customMetadata(Object.entries(headers)),
    trailers: customMetadata(Object.entries(trailers)),
  };
}

async function translated(action) {
  try {
    return await action();
  } catch (error) {
    throw translate(error);
  }
}

function translate(error) {
  const details = error.meta?.['grpc-status-details-bin'];
  const status = details ? Status.fromBinary(fromBase64(details)) : {details: []};
  const violations = status.details.flatMap((detail) => Any.unpack(detail, BadRequest).fieldViolations);
  const metadata = customMetadata(Object.entries(error.meta ?? {}));
  return new CallError(GrpcStatusCode[error.code], error.message, violations, error.code, metadata);
}
