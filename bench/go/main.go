// Go ttrpc, for comparison: both peers of the benchmark, in the words of ../peers/peer.ts.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime/debug"

	"google.golang.org/protobuf/proto"
	"ttrpc.test/bench/benchv1"
)

const service = "ttrpc.bench.v1.BenchService"

type plan struct {
	Kind        string `json:"kind"`
	Bytes       int    `json:"bytes"`
	Realistic   bool   `json:"realistic"`
	InFlight    int    `json:"inFlight"`
	Connections int    `json:"connections"`
	WarmUpMs    int64  `json:"warmUpMs"`
	MeasureMs   int64  `json:"measureMs"`
	PerStream   int    `json:"perStream"`
	Message     string `json:"message"`
}

// message is the realistic one.
func (p *plan) message() (*benchv1.CreateTaskRequest, error) {
	encoded, err := hex.DecodeString(p.Message)
	if err != nil {
		return nil, err
	}
	message := new(benchv1.CreateTaskRequest)
	return message, proto.Unmarshal(encoded, message)
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
		err = call(os.Args[2], &p)
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

// obey says that it is ready, and hands every line of the standard input on.
func obey(command func(string) error) error {
	say(map[string]bool{"ready": true})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := command(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func say(event any) {
	if err := json.NewEncoder(os.Stdout).Encode(event); err != nil {
		log.Fatal(err)
	}
}
