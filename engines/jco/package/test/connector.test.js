// The package against a simulated Memberspot, which the command line MEMBERSPOT (`memberspot`) plays.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

let simulator;
let access;
let offers;

before(async () => {
  simulator = spawn(process.env.MEMBERSPOT || 'memberspot', ['simulate', '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface({ input: simulator.stdout }), 'line');
  const { key, origin } = JSON.parse(line);
  process.env.MEMBERSPOT_API_KEY = key;
  process.env.MEMBERSPOT_BASE_URL = origin;
  process.env.MEMBERSPOT_SCOPES = 'read,write';
  // Only now, since the environment is read when the package is loaded.
  ({ access, offers } = await import('memberspot-connector'));
});

after(() => simulator.kill());

test('offers can be listed', () => {
  assert.ok(offers.listOffers().some((offer) => offer.id === 'offer-breath'));
});

test('an offer can be granted', () => {
  const user = access.grantAccess({ email: 'ada@example.com', offerId: 'offer-breath' });
  assert.equal(user.email, 'ada@example.com');
  assert.deepEqual(user.progress.map((course) => course.courseId), ['course-breathing']);
});

test('an unknown offer is an error that says so', () => {
  const { tag, val } = errorOf(() => access.grantAccess({ email: 'ada@example.com', offerId: 'no-such-offer' }));
  assert.equal(tag, 'permanent');
  assert.equal(val.code, 'not-found');
  assert.equal(val.attempts, 1);
});

test('what the scopes do not allow is not sent', () => {
  const { tag, val } = errorOf(() => access.deleteAccess('ada@example.com', 'offer-breath'));
  assert.equal(tag, 'permanent');
  assert.equal(val.code, 'not-permitted');
  assert.equal(val.attempts, 0);
});

function errorOf(call) {
  try {
    call();
  } catch (error) {
    return error.payload;
  }
  assert.fail('no error');
}
