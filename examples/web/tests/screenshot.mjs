// Takes screenshot.png, the picture for the READMEs: npm run screenshot

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { serve } from '../server.mjs';
import { launch, open } from './browser.mjs';

const path = join(dirname(fileURLToPath(import.meta.url)), '..', 'screenshot.png');
const [server, browser] = await Promise.all([serve(), launch()]);
try {
  const page = await browser.newPage({ viewport: { width: 960, height: 700 }, colorScheme: 'light' });
  await open(page, server.address);
  // There and back, until the time that it shows is that of many runs.
  for (let i = 0; i < 16; i++) {
    await page.keyboard.press(i % 2 ? 'q' : 'e');
    await page.waitForTimeout(50);
  }
  await page.waitForTimeout(300);
  await page.screenshot({ path, fullPage: true });
} finally {
  await browser.close();
  await server.close();
}
