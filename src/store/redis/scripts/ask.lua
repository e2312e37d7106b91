-- ARGV: the fingerprint, the ticket if there is none, the agent, how long the question is open, what is asked, how many
-- questions nobody has answered an agent may have, and how many in all.

local function reply(question, stands, is_new)
  return {question.ticket, stands, question.by or '', question.why or false, whole(question.ends - now), is_new}
end

local fingerprint, ticket, agent = ARGV[1], ARGV[2], ARGV[3]
local known = redis.call('GET', request_key(fingerprint))
local question = known and open(known)
if question then
  local stands = standing(question, '')
  local is_new = redis.call('HDEL', question_key(known), 'unannounced')
  return reply(question, stands, is_new)
end

redis.call('ZREMRANGEBYSCORE', agent_key(agent), '-inf', whole(now))
redis.call('ZREMRANGEBYSCORE', open_key, '-inf', whole(now))
local kept, pending = redis.call('ZRANGE', agent_key(agent), 0, -1), 0
for _, other in ipairs(kept) do
  if redis.call('HGET', question_key(other), 'state') == 'pending' then
    pending = pending + 1
  end
end
if pending >= tonumber(ARGV[6]) or #kept >= tonumber(ARGV[7]) then
  return {'', 'too_many', '', false, '0', 0}
end

local expires = tonumber(ARGV[4])
question = {ticket = ticket, fingerprint = fingerprint, agent = agent, asked = now, ends = now + expires}
redis.call('HSET', question_key(ticket), 'fingerprint', fingerprint, 'agent', agent, 'about', ARGV[5],
  'state', 'pending', 'expires', whole(expires))
redis.call('SET', request_key(fingerprint), ticket)
keep(question)
return reply(question, 'pending', 1)
