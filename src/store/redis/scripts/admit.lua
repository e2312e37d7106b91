-- ARGV: `look` or `admit`, the fingerprint whose approval is to be used or '', then for each count: its name, the limit,
-- the window's length and the units.
--
-- A count is a list of `time units sum`: what was admitted, in the order of time. The sum is that of all units up to
-- and with the entry, so that the units in the list are the last one's sum less what stood before the first.

-- Entries a list may have. Beyond it, those that lie close together become one that counts as the latest of them: it
-- leaves later than it should, so that less is admitted and never more.
local MOST_ENTRIES, CELLS = 1024, 512
local CHUNK = 64

local function parse(text)
  local at, units, sum = string.match(text, '^(%d+) (%d+) (%d+)$')
  return tonumber(at), tonumber(units), tonumber(sum)
end

-- Calls `visit` with each entry until it says stop; gives how many it passed.
local function walk(key, visit)
  local passed = 0
  while true do
    local chunk = redis.call('LRANGE', key, passed, passed + CHUNK - 1)
    for _, text in ipairs(chunk) do
      if visit(parse(text)) then
        return passed
      end
      passed = passed + 1
    end
    if #chunk < CHUNK then
      return passed
    end
  end
end

-- Drops what has left. The time that counts is never before the last entry's, or a clock that was set back would
-- break the order.
local function window(count)
  local last = redis.call('LINDEX', count.key, -1)
  count.at, count.total, count.sum = now, 0, 0
  if not last then
    return
  end
  local last_at, _, last_sum = parse(last)
  count.at = math.max(now, last_at)
  local gone = walk(count.key, function(at, units, sum)
    if count.at - at < count.per then
      count.total, count.sum = last_sum - sum + units, last_sum
      return true
    end
  end)
  if gone > 0 then
    redis.call('LTRIM', count.key, gone, -1)
  end
end

-- How long until there is room: 0 for now, -1 for never.
local function room(count)
  if count.units > count.most then
    return -1
  end
  local surplus = count.total + count.units - count.most
  if surplus <= 0 then
    return 0
  end
  local wait = count.per
  walk(count.key, function(at, units)
    surplus = surplus - units
    if surplus <= 0 then
      wait = math.max(at + count.per - now, 1)
      return true
    end
  end)
  return wait
end

-- Makes one entry of those in the same cell, and lets the sums begin anew.
local function divide(count)
  local width = math.max(math.floor(count.per / CELLS), 1)
  local entries = {}
  walk(count.key, function(at, units)
    local last = entries[#entries]
    if last and math.floor(last.at / width) == math.floor(at / width) then
      last.at, last.units = at, last.units + units
    else
      entries[#entries + 1] = {at = at, units = units}
    end
  end)
  redis.call('DEL', count.key)
  count.sum = 0
  for _, entry in ipairs(entries) do
    count.sum = count.sum + entry.units
    redis.call('RPUSH', count.key, whole(entry.at) .. ' ' .. whole(entry.units) .. ' ' .. whole(count.sum))
  end
end

local function charge(count)
  if count.units == 0 then
    return
  end
  -- Sums stay where a double is exact.
  if redis.call('LLEN', count.key) >= MOST_ENTRIES or count.sum + count.units > 2 ^ 53 then
    divide(count)
  end
  redis.call('RPUSH', count.key, whole(count.at) .. ' ' .. whole(count.units) .. ' ' .. whole(count.sum + count.units))
  outlive(count.key, count.at - now + count.per)
end

local counts, worst, reached = {}, 0, nil
for at = 3, #ARGV, 4 do
  local count = {
    key = base .. ':count:' .. ARGV[at],
    most = tonumber(ARGV[at + 1]), per = tonumber(ARGV[at + 2]), units = tonumber(ARGV[at + 3]),
  }
  counts[#counts + 1] = count
  window(count)
  local wait = room(count)
  if wait ~= 0 and worst ~= -1 and (wait == -1 or wait > worst) then
    worst, reached = wait, #counts
  end
end
if reached then
  return {'reached', whole(reached - 1), whole(worst), false}
end
if ARGV[1] == 'look' then
  return {'admitted', false, false, false}
end

-- Nothing was written until here that counts, and from here on nothing refuses but this.
local redeemed = nil
if ARGV[2] ~= '' then
  local ticket = redis.call('GET', request_key(ARGV[2]))
  redeemed = ticket and open(ticket)
  if not redeemed or redeemed.state ~= 'approved' then
    return {'not_approved', false, false, false}
  end
  if waiting(ticket) == 0 then
    drop(redeemed)
  else
    -- The others who wait for it ask anew.
    redis.call('HSET', question_key(ticket), 'state', 'pending', 'unannounced', '1')
    redis.call('HDEL', question_key(ticket), 'told_at', 'told_by')
    redeemed.asked, redeemed.ends = now, now + redeemed.expires
    keep(redeemed)
  end
end
for _, count in ipairs(counts) do
  charge(count)
end
if redeemed then
  return {'admitted', redeemed.ticket, redeemed.by, redeemed.why or false}
end
return {'admitted', false, false, false}
