import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseInstant } from '../../agent/sources/times.ts';

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const pad = (n: number, width = 2): string => String(n).padStart(width, '0');

describe('an instant', () => {
  const ROWS: readonly (readonly [text: string, iso: string, zoneMinutes?: number])[] = [
    ['2017-09-18T08:22:00Z', '2017-09-18T08:22:00.000Z'],
    ['2017-09-18t08:22:00z', '2017-09-18T08:22:00.000Z'],
    ['  2017-09-18T08:22:00Z\r\n', '2017-09-18T08:22:00.000Z'],
    ['2015-01-05T18:02:00.9996Z', '2015-01-05T18:02:00.999Z'],
    ['2022-01-01T00:00:00.1234567Z', '2022-01-01T00:00:00.123Z'],
    ['2022-01-01T00:00:00,57Z', '2022-01-01T00:00:00.570Z'],
    ['2022-01-01T00:00:00.57Z', '2022-01-01T00:00:00.570Z'],
    ['2022-01-01T08:00:00+08:00', '2022-01-01T00:00:00.000Z'],
    ['2022-01-01T08:00:00+0800', '2022-01-01T00:00:00.000Z'],
    ['2022-01-01T08:00:00+08', '2022-01-01T00:00:00.000Z'],
    ['2021-12-31T20:30:00-03:30', '2022-01-01T00:00:00.000Z'],
    ['2022-01-01T00:00Z', '2022-01-01T00:00:00.000Z'],
    ['2022-01-01 00:00:00 UTC', '2022-01-01T00:00:00.000Z'],
    ['2022-01-01 00:00:00 +0000', '2022-01-01T00:00:00.000Z'],
    ['2022-01-01T00:00:00', '2022-01-01T00:00:00.000Z'],
    ['2018-08-18 12:05:33', '2018-08-18T04:05:33.000Z', 480],
    ['2018-08-18 12:05:33Z', '2018-08-18T12:05:33.000Z', 480],
    ['21 Jan 2019 09:00:43 GMT', '2019-01-21T09:00:43.000Z'],
    ['5 Jan 2019 09:00:43 GMT', '2019-01-05T09:00:43.000Z'],
    [' 5 Jan 2019 09:00:43 GMT', '2019-01-05T09:00:43.000Z'],
    ['05 Jan 2019 09:00:43 GMT', '2019-01-05T09:00:43.000Z'],
    ['Mon, 19 Sep 2016 18:29:47 GMT', '2016-09-19T18:29:47.000Z'],
    ['Fri, 19 Sep 2016 18:29:47 GMT', '2016-09-19T18:29:47.000Z'],
    ['Monday, 19 September 2016 18:29:47 GMT', '2016-09-19T18:29:47.000Z'],
    ['Mon, 19 Sep 2016 18:29:47 +0200', '2016-09-19T16:29:47.000Z'],
    ['Mon, 19-Sep-2016 18:29:47 GMT', '2016-09-19T18:29:47.000Z'],
    ['19 SEP 2016 18:29:47', '2016-09-19T18:29:47.000Z'],
    ['2016-12-31T23:59:60Z', '2017-01-01T00:00:00.000Z'],
    ['2016-12-31T24:00:00Z', '2017-01-01T00:00:00.000Z'],
    ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
  ];
  for (const [text, iso, zoneMinutes] of ROWS)
    it(`${JSON.stringify(text)} is ${iso}${zoneMinutes === undefined ? '' : ` at +${zoneMinutes} minutes`}`, () => {
      const ms = parseInstant(text, zoneMinutes);
      assert.equal(ms === undefined ? undefined : new Date(ms).toISOString(), iso);
    });

  for (const text of [
    '',
    ' ',
    '0',
    '1766440000',
    'NONE',
    'null',
    'soon',
    'terminate',
    '<html></html>',
    '2017-09-18',
    '08:22:00',
    '2017-09-18T08:22:00Z2017-09-18T08:22:00Z',
    '2017-09-18T08:22:00Z and then some',
    '17-09-18T08:22:00Z',
    '2019-02-31T00:00:00Z',
    '2023-02-29T00:00:00Z',
    '2019-00-10T00:00:00Z',
    '2019-13-10T00:00:00Z',
    '2019-01-00T00:00:00Z',
    '2019-01-32T00:00:00Z',
    '2019-01-01T24:00:01Z',
    '2019-01-01T24:30:00Z',
    '2019-01-01T25:00:00Z',
    '2019-01-01T00:60:00Z',
    '2019-01-01T00:00:61Z',
    '2019-01-01T00:00:00+99:00',
    '2019-01-01T00:00:00+01:75',
    '0001-01-01T00:00:00Z',
    '0019-01-01T00:00:00Z',
    '1969-12-31T23:59:59Z',
    '31 Feb 2019 09:00:43 GMT',
    '21 Foo 2019 09:00:43 GMT',
    '21 Jan 19 09:00:43 GMT',
    '21 Jan 2019',
    'Mon Sep 19 18:29:47 2016',
    '2017-09-18T08:22:00 Europe/Zurich',
    '٢٠١٧-09-18T08:22:00Z',
  ])
    it(`${JSON.stringify(text)} is no time`, () => assert.equal(parseInstant(text), undefined));

  const instants = fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true });
  const zones = fc.integer({ min: -14 * 60, max: 14 * 60 });
  const offset = (minutes: number, colon: string): string =>
    `${minutes < 0 ? '-' : '+'}${pad(Math.floor(Math.abs(minutes) / 60))}${colon}${pad(Math.abs(minutes) % 60)}`;

  it('survives the way into every format and back', () => {
    fc.assert(
      fc.property(instants, zones, fc.constantFrom('T', 't', ' '), fc.constantFrom(':', ''), (date, zone, t, colon) => {
        const ms = date.getTime();
        const secs = Math.floor(ms / 1000) * 1000;
        const local = new Date(ms + zone * 60_000);
        // Where the zone leads out of the years with four digits.
        if (local.getUTCFullYear() < 1970 || local.getUTCFullYear() > 9999) return;
        const [day = '', time = ''] = local.toISOString().replace('Z', '').split('T');
        assert.equal(parseInstant(`${day}${t}${time}${offset(zone, colon)}`), ms);
        assert.equal(parseInstant(`${day}${t}${time}`, zone), ms);
        assert.equal(parseInstant(`${day}${t}${time.slice(0, 8)}${offset(zone, colon)}`), secs);
        assert.equal(parseInstant(date.toISOString(), zone), ms);
        const month = MONTHS[local.getUTCMonth()];
        const rest = `${month} ${pad(local.getUTCFullYear(), 4)} ${time.slice(0, 8)}`;
        assert.equal(parseInstant(`${local.getUTCDate()} ${rest} ${offset(zone, colon)}`), secs);
        assert.equal(parseInstant(`${pad(local.getUTCDate())} ${rest}`, zone), secs);
        // Whatever weekday is given.
        for (const name of DAYS) assert.equal(parseInstant(date.toUTCString().replace(/^\w+/, name)), secs);
      }),
    );
  });

  it('never throws, and is never anything but a time after 1970', () => {
    const parts = fc.constantFrom('2019', '-', '01', ':', 'T', 'Z', ' ', '+', '99', 'Jan', 'GMT', ',', '.', '\n', 'é');
    const texts = fc.oneof(
      fc.string({ maxLength: 100 }),
      fc.array(parts, { maxLength: 20 }).map((all) => all.join('')),
    );
    fc.assert(
      fc.property(texts, fc.integer({ min: -900, max: 900 }), (text, zone) => {
        const ms = parseInstant(text, zone);
        assert.ok(ms === undefined || (Number.isInteger(ms) && ms >= -900 * 60_000), `${text}: ${ms}`);
      }),
      { numRuns: 2_000 },
    );
  });

  it('is not looked for in what is far too long', () => {
    assert.equal(parseInstant(`2017-09-18T08:22:00Z${' '.repeat(1_000_000)}x`), undefined);
    assert.equal(parseInstant(`${'Mon, '.repeat(200_000)}`), undefined);
  });
});
