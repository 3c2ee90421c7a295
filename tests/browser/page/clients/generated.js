import {AbsentClient, EchoClient} from '../generated/echo_grpc_web_pb';
import {EchoRequest} from '../generated/echo_pb';
import {callsOf} from './grpc_web';

/** What protoc has generated, as it was before there were other clients: messages are classes with setters. */
export function grpcWebGenerated(server) {
  const echo = new EchoClient(server, null, {withCredentials: true});
  const absent = new AbsentClient(server, null, {withCredentials: true});
  const unary = (client, name) => (request, metadata, callback) =>
    client[name](encode(request), metadata, (error, response) => callback(error, response && decode(response)));
  return callsOf({
    unary: unary(echo, 'unary'),
    missing: unary(echo, 'missing'),
    absent: unary(absent, 'call'),
    stream: (request, metadata) => echo.serverStream(encode(request), metadata),
    decode,
  });
}

function encode({text = '', count = 0}) {
  const request = new EchoRequest();
  request.setText(text);
  request.setCount(count);
  return request;
}

function decode(response) {
  return {text: response.getText(), number: response.getNumber()};
}
