// Every case is a function of a client and the server's URL. It answers facts, which the test compares with its table.

import {TOKEN} from './calls';

const BYTES = Uint8Array.of(0, 1, 127, 128, 254, 255);

export async function unary(client) {
  return reply(await client.unary({text: 'größe', count: 7}, call()));
}

export async function empty_message(client) {
  return reply(await client.unary({}, call()));
}

export async function stream(client, server) {
  const options = call();
  const texts = [];
  await client.stream({text: 'gated', count: 4}, options, (message) => {
    texts.push(message.text);
    fetch(`${server}/calls/${options.metadata['x-call']}/gate`, {method: 'POST'});
  });
  return texts;
}

export async function large_stream(client) {
  const lengths = [];
  await client.stream({text: 'large', count: 4}, call(), (message) => lengths.push(message.text.length));
  return lengths;
}

export async function error(client) {
  return status(await failure(client.unary({text: 'fail'}, call())));
}

export async function error_after_messages(client) {
  const numbers = [];
  const onMessage = (message) => numbers.push(message.number);
  return {...status(await failure(client.stream({text: 'fail', count: 3}, call(), onMessage))), numbers};
}

export async function metadata(client) {
  const {headers, trailers} = await client.unary({text: 'a'}, call({'x-mine': 'ASCII, text', 'x-mine-bin': BYTES}));
  return {headers, trailers};
}

export async function stream_metadata(client) {
  const options = call({'x-mine': 'ASCII, text', 'x-mine-bin': BYTES});
  const {headers, trailers} = await client.stream({text: 'large', count: 1}, options, () => {});
  return {headers, trailers};
}

export async function error_metadata(client) {
  const options = call({'x-mine': 'ASCII, text', 'x-mine-bin': BYTES});
  const error = await failure(client.unary({text: 'fail'}, options));
  // Some clients put the headers there, too.
  const trailing = Object.entries(error.metadata).filter(([name]) => name.startsWith('x-trailing'));
  return {...status(error), trailers: Object.fromEntries(trailing)};
}

export async function deadline(client, server) {
  const options = call({}, {timeout: 30_000});
  await client.unary({text: 'a'}, options);
  const {timeout} = await ended(server, options);
  // The call itself may be over before the server has seen it.
  const {code} = await failure(client.unary({text: 'sleep'}, call({}, {timeout: 400})));
  return {code, received: timeout > 20 && timeout <= 30};
}

export async function deadline_of_server(client) {
  let messages = 0;
  const {code} = await failure(client.stream({text: 'limited'}, call(), () => messages++));
  return {code, messages: messages > 0};
}

export async function abort(client, server) {
  const controller = new AbortController();
  const options = call({}, {signal: controller.signal});
  const result = failure(client.stream({text: 'endless'}, options, () => {}));
  const before = await (await fetch(`${server}/calls/${options.metadata['x-call']}/sent/2`)).json();
  controller.abort();
  const {closed, code, sent} = await ended(server, options);
  // One each 50 ms. Clocks also run while all processes stand still.
  const soon = closed && sent - before.sent <= 20;
  return {closed, soon, code, reported: (await result).name};
}

export async function cookie(client) {
  // Cookies belong to a host, whatever the port.
  document.cookie = 'visitor=page';
  return (await client.unary({text: 'cookie'}, call())).message.text;
}

export async function refused(client) {
  const {code, message} = await failure(client.unary({text: 'a'}, call({'x-grpc-auth-token': 'wrong'})));
  return {code, explained: message.includes('token')};
}

export async function stream_refused(client) {
  const options = call({'x-grpc-auth-token': 'wrong'});
  const {code, message} = await failure(client.stream({text: 'large', count: 1}, options, () => {}));
  return {code, explained: message.includes('token')};
}

export async function refused_by_app(client) {
  const {code} = await failure(client.unary({text: 'a'}, call({'x-refuse': 'please'})));
  return {code};
}

export async function unimplemented(client) {
  return {code: (await failure(client.missing({}, call()))).code};
}

export async function unknown(client) {
  const {code, message} = await failure(client.absent({}, call()));
  return {code, explained: message.includes('tests.echo.v1.Absent/Call')};
}

let calls = 0;

function call(metadata = {}, options = {}) {
  const name = `call-${performance.timeOrigin}-${calls++}`;
  return {metadata: {'x-call': name, 'x-grpc-auth-token': TOKEN, ...metadata}, ...options};
}

function reply({message}) {
  return {text: message.text, number: message.number};
}

function status({code, message, violations}) {
  return {code, message, violations: violations.map(({field, description}) => ({field, description}))};
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    if (!('violations' in error)) throw error;
    return error;
  }
  throw new Error('the call should have failed');
}

async function ended(server, {metadata}) {
  return (await fetch(`${server}/calls/${metadata['x-call']}`)).json();
}
