// Go ttrpc with itself, for comparison: both peers of the benchmark, in the words of ../peers/peer.ts.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	service = "ttrpc.test.v1.TestService"
	method  = "Echo"
)

type plan struct {
	Bytes     int   `json:"bytes"`
	InFlight  int   `json:"inFlight"`
	WarmUpMs  int64 `json:"warmUpMs"`
	MeasureMs int64 `json:"measureMs"`
}

type result struct {
	Calls   int64    `json:"calls"`
	Seconds float64  `json:"seconds"`
	P50Us   *float64 `json:"p50Us"`
	P99Us   *float64 `json:"p99Us"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(version())
		return
	}
	if len(os.Args) != 4 {
		log.Fatal("usage: server|client PATH PLAN, or version")
	}
	var p plan
	if err := json.Unmarshal([]byte(os.Args[3]), &p); err != nil {
		log.Fatal(err)
	}
	var err error
	if os.Args[1] == "server" {
		err = serve(os.Args[2])
	} else {
		err = load(os.Args[2], p)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/containerd/ttrpc" {
			return fmt.Sprintf("ttrpc %s, %s", module.Version, info.GoVersion)
		}
	}
	return info.GoVersion
}

func serve(path string) error {
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	// A BytesValue is on the wire what an EchoRequest is: one bytes field with number 1.
	server.Register(service, map[string]ttrpc.Method{
		method: func(_ context.Context, decode func(interface{}) error) (interface{}, error) {
			var request wrapperspb.BytesValue
			if err := decode(&request); err != nil {
				return nil, err
			}
			return wrapperspb.Bytes(request.Value), nil
		},
	})
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(context.Background(), listener) }()
	go func() {
		fmt.Println(`{"ready":true}`)
		questions := bufio.NewScanner(os.Stdin)
		for questions.Scan() {
			rss, err := residentBytes()
			if err != nil {
				failed <- err
				return
			}
			fmt.Printf("{\"rss\":%d}\n", rss)
		}
		failed <- nil
	}()
	return <-failed
}

var vmRSS = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

func residentBytes() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	match := vmRSS.FindSubmatch(status)
	if match == nil {
		return 0, fmt.Errorf("there is no VmRSS in /proc/self/status")
	}
	kib, err := strconv.ParseInt(string(match[1]), 10, 64)
	return kib << 10, err
}

func load(path string, p plan) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()

	var (
		payload   = make([]byte, p.Bytes)
		calls     atomic.Int64
		measuring atomic.Bool
		over      atomic.Bool
		workers   sync.WaitGroup
		latencies []float64 // of a single call in flight, in microseconds
	)
	for range p.InFlight {
		workers.Add(1)
		go func() {
			defer workers.Done()
			before := time.Now()
			for !over.Load() {
				var response wrapperspb.BytesValue
				err := client.Call(context.Background(), service, method, wrapperspb.Bytes(payload), &response)
				if err != nil {
					log.Fatal(err)
				}
				if len(response.Value) != p.Bytes {
					log.Fatalf("%d bytes came back instead of %d", len(response.Value), p.Bytes)
				}
				calls.Add(1)
				if p.InFlight > 1 {
					continue
				}
				now := time.Now()
				if measuring.Load() {
					latencies = append(latencies, float64(now.Sub(before).Nanoseconds())/1e3)
				}
				before = now
			}
		}()
	}
	time.Sleep(time.Duration(p.WarmUpMs) * time.Millisecond)
	measuring.Store(true)
	start, before := time.Now(), calls.Load()
	time.Sleep(time.Duration(p.MeasureMs) * time.Millisecond)
	r := result{Calls: calls.Load() - before, Seconds: time.Since(start).Seconds()}
	over.Store(true)
	workers.Wait()

	if p.InFlight == 1 {
		slices.Sort(latencies)
		r.P50Us, r.P99Us = quantile(latencies, 0.5), quantile(latencies, 0.99)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func quantile(sorted []float64, q float64) *float64 {
	if len(sorted) == 0 {
		return nil
	}
	return &sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
