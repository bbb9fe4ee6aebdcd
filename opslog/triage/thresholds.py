"""Every number that the triage decides by, with its reason.

The rise and the two hours are the runbook's; the rest was chosen on labelled weeks made from public
traces (docs/triage.md). How an estimate is made (neighbours of an hour, prior requests) stands
where it is made.
"""

# The runbook: a spike is more than 20 % above the baseline, and not a blip.
RISE = 1.2
# "Sustained": the looked-at hours are cut in three, and each third must be raised. A burst of less
# than an hour touches two clock hours at most, so it never fills three parts of an hour or more.
PARTS_OF_A_LOOK = 3
# How much of the rise each third must show. Requests come in bursts, so of the volume and of hidden
# requests all of it: a burst of half an hour beside two ordinary hours must not pass. Of any other
# part half of it.
VOLUME_OF_A_THIRD = 1.2
PART_OF_A_THIRD = 1.1
# How far back a run looks, in hours. Short looks find steep spikes soon, long ones find small ones.
LOOKS = (3, 4, 6, 9, 12, 18, 24)
# Looks up to this long are compared with the hours before the last six, longer ones with those
# before the last day: a look must not be part of its own baseline.
SHORT_LOOK = 6
LONG_LOOK = 24
# Two days at least must lie before a look, three before a long one: with less there is no telling
# what is usual, and an old incident in one of the days is not outvoted.
LEAST_HISTORY = 48
LEAST_HISTORY_LONG = 72
# A part of the cost (tokens, price, hidden work, tool retries) counts where it is this many times
# what it usually scatters by. Many parts, features and looks are tried every hour: hence not 2.
# Tokens per request have long tails (a few documents of 100,000 tokens), so more is asked of them.
PART_SCATTERS = 4.0
TOKEN_SCATTERS = 6.0
# Volume strays more over short looks than over long ones. A rise of the volume alone must exceed
# exp(SHARE × its own scatter + SHORT / √hours), and 20 % in any case: after 3 hours +70 %, after 9
# +36 %, after a day +20 %. The scatter alone is not trusted: three days tell it badly.
VOLUME_SHORT = 0.9
VOLUME_SHARE = 0.2
LARGEST_SCATTER = 0.6  # more than this only says that there is too little history
# When causes are compared, what a part scatters by is taken off first, so many times.
BELIEVED_SCATTERS = 2.0
# Clients label retries as user requests: up to this share of hidden work is taken to hide in them,
# where the feature has more of both.
MISLABELLED = 0.5
# An average over fewer requests than this is the story of single requests.
LEAST_TOKEN_REQUESTS = 20
# A feature that expects fewer requests than this in the window says nothing about common growth.
LEAST_REQUESTS = 10
# Below this many dollars an hour above the baseline nobody needs to get up.
FLOOR_USD_PER_HOUR = 0.1
# Parts of a feature below this share of all cost are not looked at: they cannot be the cause.
LEAST_SHARE = 0.02
# Open incidents: the cost is back when it is within 20 % (RISE) of the baseline for two hours.
STABLE_HOURS = 2
# A user or user agent that makes up more than this of the change: a bot or abuse, not growth.
ONE_ACTOR = 0.5
# And its share of the cost must be this many times what it was: a user agent that all people have
# makes up all of any change.
LARGER_SHARE = 1.5
# A change marker up to so many hours before the start is named.
CHANGE_HOURS = 6
