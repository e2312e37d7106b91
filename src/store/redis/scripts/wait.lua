-- ARGV: the ticket, who waits, and `last` if they will not ask again.

local ticket, waiter, is_last = ARGV[1], ARGV[2], ARGV[3] == 'last'
local question = open(ticket)
if not question then
  return {'expired', '', false}
end
if not redis.call('ZSCORE', queue_key(ticket), waiter) then
  redis.call('ZADD', queue_key(ticket), redis.call('HINCRBY', question_key(ticket), 'next', 1), waiter)
end
redis.call('ZADD', alive_key(ticket), whole(now), waiter)
local stands = standing(question, waiter)
if is_last or stands ~= 'pending' then
  leave(ticket, waiter)
else
  outlive(queue_key(ticket), question.ends - now)
  outlive(alive_key(ticket), question.ends - now)
end
return {stands, question.by or '', question.why or false}
