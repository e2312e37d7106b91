-- ARGV: the ticket, and who waits no more. An approval they were told of is free for the next.

local ticket, waiter = ARGV[1], ARGV[2]
leave(ticket, waiter)
if redis.call('HGET', question_key(ticket), 'told_by') == waiter then
  redis.call('HDEL', question_key(ticket), 'told_at', 'told_by')
end
return 1
