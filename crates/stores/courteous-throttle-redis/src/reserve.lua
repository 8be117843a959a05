-- Reserves consecutive slots of one schedule, and answers in times relative to now.
--
-- KEYS: the schedule (hash), who was here lately (sorted set), who waits for room (sorted set).
-- ARGV: 1 worker  2 interval  3 burst  4 need  5 want  6 closed for  7 pace  8 paced for
--       9 skew seen  10 step  11 born  12 read at  13 ends: the latest schedule that the worker has seen
-- Clocks, skew, step and births are in microseconds; all else is in nanoseconds, relative to now.
-- Every number is an integer below 2^53, and so is exact.

local MICRO = 1000
local RATE_SEEN = 5e6
-- A worker that is told to wait for longer than this counts as gone until it calls again.
local LONGEST_STAY = 3.6e9

local worker = ARGV[1]
local need, want = tonumber(ARGV[4]), tonumber(ARGV[5])
local closing, pacing, paced_for = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local step = tonumber(ARGV[10])
local seen_born, seen_at, seen_ends = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])

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
local run = redis.call('INFO', 'server'):match('run_id:(%x+)')
if not run then
  -- Without it, lost data would be taken for an idle bucket.
  return redis.error_reply('ERR INFO server has no run_id')
end

-- Over all fields of the schedule but the sum itself, so that only what this script wrote as a whole is believed.
local function sum(fields)
  local lines = {}
  for name, value in pairs(fields) do
    lines[#lines + 1] = name .. '=' .. value
  end
  table.sort(lines)
  return redis.sha1hex(table.concat(lines, '\n'))
end

local raw = redis.pcall('HGETALL', KEYS[1])
local waiting = redis.pcall('ZCARD', KEYS[3])
-- A key of another type is another program's, and is replaced.
local whole = true
for _, found in ipairs({ raw, redis.pcall('ZCARD', KEYS[2]), waiting }) do
  if type(found) == 'table' and found.err then
    if not found.err:find('WRONGTYPE', 1, true) then
      return found
    end
    whole = false
  end
end

local state, rates = {}, {}
if whole then
  local written
  for i = 1, #raw, 2 do
    if raw[i] == 'sum' then
      written = raw[i + 1]
    else
      state[raw[i]] = raw[i + 1]
    end
  end
  whole = written == sum(state)
end

-- What another process wrote may be older than what was given out; so may what is no schedule.
local cold = not whole or state.run ~= run
local skew, elapsed = 0, 0
if not cold then
  for name, seen in pairs(state) do
    if name:sub(1, 5) == 'rate:' then
      rates[name] = tonumber(seen)
    end
  end
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
  local born, begins = tonumber(state.born), tonumber(state.begins) - elapsed
  if not cold and (born < seen_born or born == seen_born and begins < seen_ends - (now - seen_at) * MICRO) then
    -- An older state was restored: it knows nothing of slots that this worker saw given out, nor of those of others.
    cold = true
    state = {}
  end
else
  state = {}
end
-- A later schedule is born later, whatever the clock says.
local born = math.max(now, seen_born + 1, tonumber(state.born or 0) + 1)
if cold then
  rates = {}
  waiting = 0
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
end

-- The strictest of the rates that were stated lately.
rates['rate:' .. ARGV[2] .. ':' .. ARGV[3]] = now
local interval, burst, stated = 0, math.huge, 0
for name, seen in pairs(rates) do
  if now - seen > RATE_SEEN then
    redis.call('HDEL', KEYS[1], name)
    rates[name] = nil
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
  born = tonumber(state.born)
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
-- None of ours stays for so long.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. text(now + LONGEST_STAY), '+inf')
local workers = redis.call('ZCARD', KEYS[2])
if need > 0 and not redis.call('ZSCORE', KEYS[2], worker) then
  workers = workers + 1
end

local first, granted, wait = begins, 0, 0
if need > 0 then
  if waiting > workers then
    -- Some of these are no workers, or are gone: none of them holds up others.
    for _, name in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
      if name ~= worker and not redis.call('ZSCORE', KEYS[2], name) then
        redis.call('ZREM', KEYS[3], name)
      end
    end
  end
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
  local stays = math.min(math.ceil((wait + 2 * (is.lease + is.horizon)) / MICRO), LONGEST_STAY)
  redis.call('ZADD', KEYS[2], text(now + stays), worker)
end

local fields = {
  run = run, born = text(born), at = text(now), skew = text(skew), begins = text(begins), closed = text(closed),
  pace = text(pace), paced = text(paced), interval = text(interval), burst = text(burst),
}
for name, seen in pairs(rates) do
  fields[name] = text(seen)
end
local written = { 'sum', sum(fields) }
for name, value in pairs(fields) do
  written[#written + 1] = name
  written[#written + 1] = value
end
redis.call('HSET', KEYS[1], unpack(written))
-- Forgetting a schedule costs a cold start.
local keep = text(math.min(3.6e6 + (100 * is.spacing + math.max(begins, 0) + closed) / 1e6, 1e12))
for i = 1, 3 do
  redis.call('PEXPIRE', KEYS[i], keep)
end

return {
  granted, first, begins, wait, workers, stated, interval, burst, closed,
  now, skew, tonumber(run:sub(1, 12), 16), cold and 1 or 0, born,
}
