/** Two programs for tests of who reaches whom, to be run by `node -e`. */

/** Answers every datagram and every connection with who asked and what. */
export const ECHO = `
  const [port] = process.argv.slice(1).map(Number);
  const dgram = require('dgram').createSocket({ type: 'udp6' });
  dgram.on('message', (m, r) => dgram.send(r.address.replace('::ffff:', '') + ' ' + m, r.port, r.address));
  dgram.bind(port, '::');
  require('net').createServer((s) => {
    s.on('error', () => {});
    s.on('data', (d) => s.end(s.remoteAddress.replace('::ffff:', '') + ' ' + d));
  }).listen(port, '::', () => console.log('ready'));`;
/** Asks once; prints the answer, or what went wrong. */
export const ASK = `
  const [proto, host, port] = process.argv.slice(1);
  const done = (text) => { console.log(text); process.exit(); };
  setTimeout(() => done('silence'), 1500);
  if (proto === 'tcp') {
    const s = require('net').connect(Number(port), host, () => s.write('hello'));
    s.on('data', (d) => done(String(d))).on('error', (e) => done(e.code));
  } else {
    const s = require('dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
    s.on('message', (m) => done(String(m)));
    s.send('hello', Number(port), host);
  }`;
