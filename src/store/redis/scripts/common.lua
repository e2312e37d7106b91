-- What every script begins with. KEYS[1] is what all keys begin with; it holds the hash tag, so that one node has
-- them all. Times are microseconds of the server's clock: no attache's own clock is trusted.

local base = KEYS[1]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- An approval is kept this long for the one who was told of it.
local RESERVED = 1000000
-- One who waits and does not say so for this long is gone.
local LEASE = 2000000
-- Keys outlive what they say by this, in milliseconds: what is late is told that it has expired.
local SLACK = 60000

-- Lua writes large numbers with an exponent where it is not told otherwise.
local function whole(number)
  return string.format('%.0f', number)
end

local function outlive(key, micros)
  local millis = math.ceil(micros / 1000) + SLACK
  if redis.call('PTTL', key) < millis then
    redis.call('PEXPIRE', key, whole(millis))
  end
end

-- This life of the server. What it forgets when it dies may be that an approval was used: so each life trusts only
-- the approvals that were given in it.
local function life()
  local id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  return id or error('the server does not say its run_id')
end

local function question_key(ticket)
  return base .. ':question:' .. ticket
end

local function request_key(fingerprint)
  return base .. ':request:' .. fingerprint
end

local function agent_key(agent)
  return base .. ':agent:' .. agent
end

local function queue_key(ticket)
  return base .. ':queue:' .. ticket
end

local function alive_key(ticket)
  return base .. ':alive:' .. ticket
end

local open_key = base .. ':open'

-- A question as it is kept, even if it has expired.
local function find(ticket)
  local flat = redis.call('HGETALL', question_key(ticket))
  if #flat == 0 then
    return nil
  end
  local question = {ticket = ticket}
  for at = 1, #flat, 2 do
    question[flat[at]] = flat[at + 1]
  end
  for _, name in ipairs({'asked', 'ends', 'expires', 'told_at'}) do
    question[name] = tonumber(question[name])
  end
  if question.state == 'approved' and question.life ~= life() then
    question.state = 'pending'
    redis.call('HSET', question_key(ticket), 'state', 'pending', 'unannounced', '1')
    redis.call('HDEL', question_key(ticket), 'told_at', 'told_by')
  end
  return question
end

-- A question that has not expired.
local function open(ticket)
  local question = find(ticket)
  if question and now < question.ends then
    return question
  end
  return nil
end

-- Writes down until when a question is kept.
local function keep(question)
  redis.call('HSET', question_key(question.ticket), 'asked', whole(question.asked), 'ends', whole(question.ends))
  redis.call('ZADD', agent_key(question.agent), whole(question.ends), question.ticket)
  redis.call('ZADD', open_key, whole(question.ends), question.ticket)
  for _, key in ipairs({
    question_key(question.ticket), request_key(question.fingerprint), agent_key(question.agent), open_key,
    queue_key(question.ticket), alive_key(question.ticket),
  }) do
    outlive(key, question.ends - now)
  end
end

local function drop(question)
  redis.call('DEL', question_key(question.ticket), queue_key(question.ticket), alive_key(question.ticket))
  redis.call('ZREM', agent_key(question.agent), question.ticket)
  redis.call('ZREM', open_key, question.ticket)
  -- The request may have a newer question.
  if redis.call('GET', request_key(question.fingerprint)) == question.ticket then
    redis.call('DEL', request_key(question.fingerprint))
  end
end

local function leave(ticket, waiter)
  redis.call('ZREM', queue_key(ticket), waiter)
  redis.call('ZREM', alive_key(ticket), waiter)
end

-- How many wait, and who waits longest; whoever has not been heard of is gone.
local function waiting(ticket)
  for _, waiter in ipairs(redis.call('ZRANGEBYSCORE', alive_key(ticket), '-inf', whole(now - LEASE))) do
    leave(ticket, waiter)
  end
  return redis.call('ZCARD', queue_key(ticket)), redis.call('ZRANGE', queue_key(ticket), 0, 0)[1]
end

-- How it stands for one who waits, or for one who comes just now (''): an approval is for the first of those who wait,
-- and for nobody else while they are about to use it.
local function standing(question, waiter)
  if question.state ~= 'approved' then
    return question.state
  end
  if question.told_at and now - question.told_at < RESERVED then
    -- The word may have been lost on the way.
    local is_told = waiter ~= '' and question.told_by == waiter
    return is_told and 'approved' or 'pending'
  end
  local _, first = waiting(question.ticket)
  if (first or '') ~= waiter then
    return 'pending'
  end
  redis.call('HSET', question_key(question.ticket), 'told_at', whole(now), 'told_by', waiter)
  return 'approved'
end

-- A question as a person sees it.
local function listed(question)
  return {
    question.ticket, question.state, question.by or '', question.why or false, whole(question.asked),
    whole(question.ends), (waiting(question.ticket)), question.about,
  }
end
