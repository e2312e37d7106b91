-- ARGV: the ticket, `approved` or `refused`, who answers, and why, where they said so.

local ticket, verdict = ARGV[1], ARGV[2]
local question = find(ticket)
if not question then
  return {'unknown', {}}
end
if question.ends <= now then
  return {'expired', {}}
end
local is_taken_back = question.state == 'approved' and verdict == 'refused'
if question.state ~= 'pending' and not is_taken_back then
  return {'answered', {}}
end
redis.call('HDEL', question_key(ticket), 'why', 'told_at', 'told_by')
redis.call('HSET', question_key(ticket), 'state', verdict, 'by', ARGV[3], 'life', life())
if ARGV[4] then
  redis.call('HSET', question_key(ticket), 'why', ARGV[4])
end
question.ends = now + question.expires
keep(question)
return {'taken', {listed(open(ticket))}}
