// Chromium as the tests and the screenshots use it: CHROMIUM names another one.

import { chromium } from 'playwright-core';

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      '--disable-quic',
    ],
  });

/** Opens the page and waits until it has come to rest: ready, or with an error. */
export async function open(page, address) {
  await page.goto(address);
  await page.waitForSelector('#app:not([data-state="loading"])', { timeout: 60_000 });
}
