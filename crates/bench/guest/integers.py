x = 1
total = 0
for i in range(250_000):
    x = (x * 1103515245 + 12345) & 0x7fffffff
    if x & 4:
        total += x >> 3
print(x, total)
