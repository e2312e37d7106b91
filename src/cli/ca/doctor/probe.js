// Calls a URL with each HTTP client that Node comes with; a line of JSON for each.
const base = process.argv[1];
const why = (error) => [error.code, error.message, error.cause && error.cause.message].filter(Boolean).join(': ');
const say = (stack, error) =>
  console.log(JSON.stringify({ stack, version: process.versions.node, error: error ? why(error) : null }));
const withHttps = () =>
  new Promise((resolve) => {
    const call = require('https').get(base + 'https', { agent: false }, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(null));
    });
    call.on('error', resolve);
  });
const withFetch = () => fetch(base + 'fetch').then((answer) => answer.text()).then(() => null, (error) => error);
withHttps()
  .then((error) => say('https', error))
  .then(() => (typeof fetch === 'function' ? withFetch().then((error) => say('fetch', error)) : null));
