-- How many questions nobody has answered, and how long the oldest is open.

local count, oldest = 0, now
for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', open_key, '(' .. whole(now), '+inf')) do
  local kept = redis.call('HMGET', question_key(ticket), 'state', 'asked')
  if kept[1] == 'pending' then
    count = count + 1
    oldest = math.min(oldest, tonumber(kept[2]))
  end
end
return {count, whole(now - oldest)}
