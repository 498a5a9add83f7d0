/** Debian's Chromium, driven by playwright-core, with everything that it says and asks for written down. */
import fs from 'node:fs';
import path from 'node:path';
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { WAIT_MS } from '../support/program.ts';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = PLACES.find((file) => fs.existsSync(file));
/** For `skip`: why nothing can be tried here, or false. */
export const NO_BROWSER = executablePath === undefined && 'needs Chromium (Debian package "chromium")';

/** Where the pictures of this run are left, for people. */
const PICTURES = process.env['MJF_PAGE_SCREENSHOTS'] ?? path.join(import.meta.dirname ?? __dirname, 'screenshots');

/** Nothing of Chromium's own asks the network; root has no sandbox. */
const ARGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
];

export interface Watched {
  readonly page: Page;
  readonly context: BrowserContext;
  /** All URLs that were asked for. */
  readonly requests: readonly string[];
  /** What stands in the console, and errors of scripts. */
  readonly said: readonly string[];
  /** Text of the first element that matches, without line breaks. */
  text(selector: string): Promise<string>;
  /** Waits until this expression holds; not by the page's own eval, which its policy forbids. */
  holds(expression: string): Promise<void>;
  /** Waits until that text matches. */
  shows(selector: string, pattern: RegExp): Promise<void>;
  /** Below the directory of pictures, the whole page. */
  picture(name: string): Promise<void>;
}

export async function startBrowser(): Promise<Browser> {
  if (executablePath === undefined) throw new Error('no browser');
  return chromium.launch({ executablePath, args: ARGS, timeout: WAIT_MS });
}

export async function openPage(browser: Browser, options: BrowserContextOptions = {}): Promise<Watched> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-GB', ...options });
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  const requests: string[] = [];
  const said: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  const text = async (selector: string): Promise<string> =>
    (await page.locator(selector).first().innerText()).replace(/\s+/g, ' ').trim();
  return {
    page,
    context,
    requests,
    said,
    text,
    async shows(selector, pattern) {
      const giveUpAt = Date.now() + WAIT_MS;
      for (let now = ''; !pattern.test(now); ) {
        if (Date.now() > giveUpAt) throw new Error(`${selector} never showed ${pattern}, but ${now}`);
        now = await text(selector);
        if (!pattern.test(now)) await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async holds(expression) {
      const giveUpAt = Date.now() + WAIT_MS;
      while (!(await page.evaluate(expression))) {
        if (Date.now() > giveUpAt) throw new Error(`never: ${expression}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async picture(name) {
      fs.mkdirSync(PICTURES, { recursive: true });
      await page.screenshot({ path: path.join(PICTURES, `${name}.png`), fullPage: true });
    },
  };
}
