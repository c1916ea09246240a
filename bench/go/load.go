package main

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/ttrpc"
)

type measured struct {
	Calls   int64    `json:"calls"`
	Seconds float64  `json:"seconds"`
	P50Us   *float64 `json:"p50Us"`
	P99Us   *float64 `json:"p99Us"`
	P999Us  *float64 `json:"p999Us"`
}

// load counts calls for a while. It runs on while the count starts and ends.
func (c *client) load() error {
	var (
		calls     atomic.Int64
		measuring atomic.Bool
		over      atomic.Bool
		single    = c.InFlight == 1 && c.Kind == "unary"
		before    = time.Now()
		latencies []float64 // of a single call in flight, in microseconds
	)
	completed := func(count int64) {
		calls.Add(count)
		if !single {
			return
		}
		now := time.Now()
		if measuring.Load() {
			latencies = append(latencies, float64(now.Sub(before).Nanoseconds())/1e3)
		}
		before = now
	}
	done := make(chan error, 1)
	go func() { done <- c.work(over.Load, completed) }()

	time.Sleep(time.Duration(c.WarmUpMs) * time.Millisecond)
	say(map[string]bool{"measuring": true})
	measuring.Store(true)
	start, first := time.Now(), calls.Load()
	time.Sleep(time.Duration(c.MeasureMs) * time.Millisecond)
	m := measured{Calls: calls.Load() - first, Seconds: time.Since(start).Seconds()}
	over.Store(true)
	if err := <-done; err != nil {
		return err
	}
	if single {
		slices.Sort(latencies)
		m.P50Us, m.P99Us = quantile(latencies, 0.5), quantile(latencies, 0.99)
		m.P999Us = quantile(latencies, 0.999)
	}
	say(m)
	return nil
}

// count makes a number of calls.
func (c *client) count(limit int64) error {
	var calls atomic.Int64
	over := func() bool { return calls.Load() >= limit }
	if err := c.work(over, func(count int64) { calls.Add(count) }); err != nil {
		return err
	}
	say(map[string]int64{"calls": calls.Load()})
	return nil
}

// work keeps as many calls in flight as the plan says, on all connections.
func (c *client) work(over func() bool, completed func(int64)) error {
	failed := make(chan error, c.InFlight)
	var workers sync.WaitGroup
	for i := range c.InFlight {
		workers.Add(1)
		go func(on *ttrpc.Client) {
			defer workers.Done()
			for !over() {
				if err := c.call(on, completed); err != nil {
					failed <- err
					return
				}
			}
		}(c.connections[i%len(c.connections)])
	}
	workers.Wait()
	close(failed)
	return <-failed
}

func quantile(sorted []float64, q float64) *float64 {
	if len(sorted) == 0 {
		return nil
	}
	return &sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
