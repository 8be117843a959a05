-- Reserves consecutive slots of one schedule, and answers in times relative to now.
--
-- KEYS: the schedule (hash), who was here lately (sorted set), who waits for room (sorted set).
-- ARGV: 1 worker  2 interval  3 burst  4 need  5 want  6 closed for  7 pace  8 paced for
--       9 skew seen  10 step  11 clock (tests only: '+us' is added to the clock, '=us' replaces it)
-- Clocks, skew and step are in microseconds; all else is in nanoseconds, relative to now.
-- Every number is an integer below 2^53, and so is exact.

local MICRO = 1000
local RATE_SEEN = 5e6

local worker = ARGV[1]
local need, want = tonumber(ARGV[4]), tonumber(ARGV[5])
local closing, pacing, paced_for = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local step, clock = tonumber(ARGV[10]), ARGV[11]

local function text(number)
  return string.format('%.0f', number)
end

-- The same as Terms in terms.rs.
local function terms(interval, burst)
  local lease = math.min(math.max(math.floor(burst * interval / 2), 2e7), 1e9)
  return {
    lease = lease,
    credit = math.min(math.max((burst - 1) * interval - lease, 0), 4e15),
    spacing = math.max(interval, math.ceil((interval + lease) / burst)),
    horizon = math.min(math.max(4 * lease, 5e8), 2e9),
  }
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1e6 + tonumber(time[2])
if clock:sub(1, 1) == '=' then
  now = tonumber(clock:sub(2))
elseif clock ~= '' then
  now = now + tonumber(clock)
end
local run = redis.call('INFO', 'server'):match('run_id:(%x+)')
if not run then
  -- Without it, lost data would be taken for an idle bucket.
  return redis.error_reply('ERR INFO server has no run_id')
end

local state, rates = {}, {}
local raw = redis.call('HGETALL', KEYS[1])
for i = 1, #raw, 2 do
  if raw[i]:sub(1, 5) == 'rate:' then
    rates[raw[i]] = tonumber(raw[i + 1])
  else
    state[raw[i]] = raw[i + 1]
  end
end

-- Whatever another process wrote, or nobody, may be older than what was given out.
local cold = state.run ~= run
local skew, elapsed = 0, 0
if not cold then
  skew = tonumber(state.skew)
  now = now + skew
  if step > 0 and state.skew == ARGV[9] then
    -- A worker's clock shows that ours was set forward.
    skew = skew - step
    now = now - step
    cold = true
  elseif now < tonumber(state.at) then
    -- Ours was set back.
    skew = skew + tonumber(state.at) - now
    now = tonumber(state.at)
  end
  elapsed = math.max(0, now - tonumber(state.at)) * MICRO
else
  state = {}
end
if cold then
  rates = {}
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
end

-- The strictest of the rates that were stated lately.
rates['rate:' .. ARGV[2] .. ':' .. ARGV[3]] = now
local interval, burst, stated = 0, math.huge, 0
for name, seen in pairs(rates) do
  if now - seen > RATE_SEEN then
    redis.call('HDEL', KEYS[1], name)
  else
    local i, b = name:match('^rate:(%d+):(%d+)$')
    interval, burst = math.max(interval, tonumber(i)), math.min(burst, tonumber(b))
    stated = stated + 1
  end
end
local is = terms(interval, burst)

-- When the next slot begins.
local begins
if cold then
  begins = is.horizon + math.max(is.lease, is.spacing)
elseif tonumber(state.interval) ~= interval or tonumber(state.burst) ~= burst then
  -- After all slots that may have been given out at the other rate.
  local was = terms(tonumber(state.interval), tonumber(state.burst))
  begins = math.max(is.horizon, was.horizon) + math.max(is.lease, was.lease, is.spacing)
else
  begins = math.max(tonumber(state.begins) - elapsed, -is.credit)
end
local closed = math.max(tonumber(state.closed or 0) - elapsed, closing, 0)
if closed > 0 then
  begins = math.max(begins, closed)
end

-- A server's quota, spread over the time until its reset. The last word counts.
local pace, paced = tonumber(state.pace or 0), tonumber(state.paced or 0) - elapsed
if paced_for > 0 then
  pace, paced = pacing, paced_for
end
if paced <= 0 then
  pace, paced = 0, 0
end
local apart = math.max(is.spacing, pace)

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now))
local workers = redis.call('ZCARD', KEYS[2])
if need > 0 and not redis.call('ZSCORE', KEYS[2], worker) then
  workers = workers + 1
end

local first, granted, wait = begins, 0, 0
if need > 0 then
  -- Those who did not come again when they were told to have given up.
  local eldest = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  while eldest and eldest ~= worker and not redis.call('ZSCORE', KEYS[2], eldest) do
    redis.call('ZREM', KEYS[3], eldest)
    eldest = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
  end
  local ahead = redis.call('ZRANK', KEYS[3], worker) or redis.call('ZCARD', KEYS[3])
  -- A slot is left for each of those who wait.
  local room = is.horizon - begins - ahead * apart
  wait = math.max(0, (need - 1) * is.spacing - room)
  if wait > 0 then
    redis.call('ZADD', KEYS[3], 'NX', text(now), worker)
  else
    redis.call('ZREM', KEYS[3], worker)
    granted = need
    if pace <= is.spacing then
      local share = math.floor(is.lease / (workers * is.spacing))
      granted = math.max(need, math.min(want, share, math.floor(room / is.spacing) + 1))
    end
    begins = begins + granted * apart
  end
  local stays = math.ceil((wait + 2 * (is.lease + is.horizon)) / MICRO)
  redis.call('ZADD', KEYS[2], text(now + stays), worker)
end

redis.call('HSET', KEYS[1],
  'run', run, 'at', text(now), 'skew', text(skew), 'begins', text(begins), 'closed', text(closed),
  'pace', text(pace), 'paced', text(paced), 'interval', text(interval), 'burst', text(burst),
  'rate:' .. ARGV[2] .. ':' .. ARGV[3], text(now))
-- Forgetting a schedule costs a cold start.
local keep = text(math.min(3.6e6 + (100 * is.spacing + math.max(begins, 0) + closed) / 1e6, 1e12))
for i = 1, 3 do
  redis.call('PEXPIRE', KEYS[i], keep)
end

return {
  granted, first, begins, wait, workers, stated, interval, burst, closed,
  now, skew, tonumber(run:sub(1, 12), 16), cold and 1 or 0,
}
