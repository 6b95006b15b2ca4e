// Asks the server that its argument names, and says what it answers.
import { getArguments } from 'wasi:cli/environment@0.2.12';

export const run = {
  async run() {
    const [, url] = getArguments();
    try {
      const response = await fetch(url, { method: 'POST', body: 'a question' });
      console.log(response.status, response.headers.get('content-type'), await response.text());
    } catch (error) {
      console.log(`no answer: ${error}`);
    }
  },
};
