import {create, fromBinary, toBinary} from '@bufbuild/protobuf';
import {anyUnpack} from '@bufbuild/protobuf/wkt';
import {GrpcWebClientBase, MethodDescriptor, MethodType} from 'grpc-web';
import {BadRequestSchema} from '../gen/google/rpc/error_details_pb';
import {StatusSchema} from '../gen/google/rpc/status_pb';
import {Absent, EchoReplySchema, EchoRequestSchema, Echo} from '../gen/tests/echo_pb';
import {CallError, customMetadata, encodeMetadata, fromBase64} from '../calls';

export const grpcWebText = (server) => grpcWeb(server, 'text');
export const grpcWebBinary = (server) => grpcWeb(server, 'binary');

// What protoc-gen-grpc-web would generate.
function descriptor(service, name, type) {
  return new MethodDescriptor(
    `/${service.typeName}/${name}`,
    type,
    Object,
    Object,
    (request) => toBinary(EchoRequestSchema, create(EchoRequestSchema, request)),
    (bytes) => fromBinary(EchoReplySchema, bytes),
  );
}

const UNARY = descriptor(Echo, 'Unary', MethodType.UNARY);
const MISSING = descriptor(Echo, 'Missing', MethodType.UNARY);
const ABSENT = descriptor(Absent, 'Call', MethodType.UNARY);
const STREAM = descriptor(Echo, 'ServerStream', MethodType.SERVER_STREAMING);

function grpcWeb(server, format) {
  const client = new GrpcWebClientBase({format, withCredentials: true});
  const unary = (method) => (request, metadata, callback) =>
    client.rpcCall(server + method.getName(), request, metadata, method, callback);
  return callsOf({
    unary: unary(UNARY),
    missing: unary(MISSING),
    absent: unary(ABSENT),
    stream: (request, metadata) => client.serverStreaming(server + STREAM.getName(), request, metadata, STREAM),
  });
}

/** The calls of the cases, of functions as generated clients have them; `decode` makes objects of their responses. */
export function callsOf({unary, missing, absent, stream, decode = (response) => response}) {
  return {
    unary: (request, call) => callUnary(unary, request, call),
    missing: (request, call) => callUnary(missing, request, call),
    absent: (request, call) => callUnary(absent, request, call),
    stream: (request, call, onMessage) => callStream(stream, request, call, (response) => onMessage(decode(response))),
  };
}

function callUnary(method, request, call) {
  return new Promise((resolve, reject) => {
    const answer = {};
    const stream = method(request, metadata(call), (error, message) => {
      if (error) reject(translate(error));
      answer.message = message;
    });
    // The message comes before the status in binary mode, and after it in text mode.
    stream.on('metadata', (received) => (answer.headers = customMetadata(Object.entries(received))));
    stream.on('status', (status) => (answer.trailers = customMetadata(Object.entries(status.metadata ?? {}))));
    stream.on('end', () => resolve(answer));
  });
}

function callStream(method, request, call, onMessage) {
  return new Promise((resolve, reject) => {
    const answer = {};
    const stream = method(request, metadata(call));
    stream.on('data', onMessage);
    stream.on('metadata', (received) => (answer.headers = customMetadata(Object.entries(received))));
    stream.on('status', (status) => (answer.trailers = customMetadata(Object.entries(status.metadata ?? {}))));
    stream.on('error', (error) => reject(translate(error)));
    stream.on('end', () => resolve(answer));
    call.signal?.addEventListener('abort', () => {
      stream.cancel();
      // An error or an end would come before this.
      setTimeout(() => reject(new CallError(null, '', [], 'nothing')), 200);
    });
  });
}

function metadata({metadata, timeout}) {
  const deadline = timeout ? {deadline: String(Date.now() + timeout)} : {};
  return {...encodeMetadata(metadata), ...deadline};
}

function translate(error) {
  const details = error.metadata?.['grpc-status-details-bin'];
  const status = details ? fromBinary(StatusSchema, fromBase64(details)) : {details: []};
  const requests = status.details.map((detail) => anyUnpack(detail, BadRequestSchema));
  const violations = requests.flatMap((detail) => detail.fieldViolations);
  const metadata = customMetadata(Object.entries(error.metadata ?? {}));
  return new CallError(error.code, error.message, violations, error.name, metadata);
}
