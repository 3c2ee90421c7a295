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
  const unary = (method) => (request, call) => callUnary(client, server + method.getName(), method, request, call);
  return {
    unary: unary(UNARY),
    missing: unary(MISSING),
    absent: unary(ABSENT),
    stream: (request, call, onMessage) => callStream(client, server + STREAM.getName(), request, call, onMessage),
  };
}

function callUnary(client, url, method, request, call) {
  return new Promise((resolve, reject) => {
    const answer = {};
    const stream = client.rpcCall(url, request, metadata(call), method, (error, message) => {
      if (error) reject(translate(error));
      answer.message = message;
    });
    // The message comes before the status in binary mode, and after it in text mode.
    stream.on('metadata', (received) => (answer.headers = customMetadata(Object.entries(received))));
    stream.on('status', (status) => (answer.trailers = customMetadata(Object.entries(status.metadata ?? {}))));
    stream.on('end', () => resolve(answer));
  });
}

function callStream(client, url, request, call, onMessage) {
  return new Promise((resolve, reject) => {
    const answer = {};
    const stream = client.serverStreaming(url, request, metadata(call), STREAM);
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
